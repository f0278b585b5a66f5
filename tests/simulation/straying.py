"""Bugs to plant in what runs workflows: their journals, their children, their ends (see planted.py)."""

from __future__ import annotations

from itertools import count
from math import inf
from typing import Any

from runtime.flow.context import Workflow
from runtime.flow.delivery import Delivery
from runtime.host import controls, journals
from runtime.host.attempts import Attempts
from runtime.host.executions import Executions
from runtime.host.journals import Journal
from runtime.mail import Mail
from runtime.recorder import Entry, entries_of
from runtime.tokens import Tokens
from schemas import control
from tests.simulation.beside import Patch


def handed_over_first() -> list[Patch]:
    """The code goes on with a result before that is committed."""

    def sent(self: Delivery, request: Any, entry: Entry) -> None:
        entry.at = int(self._clock.now() * 1000)
        self._sender.send(entry, lambda failure: None)
        self._arrive(entry)

    return [(Delivery, "_send", sent)]


def out_of_order() -> list[Patch]:
    def swapped(payloads: Any) -> list[Entry]:
        found = entries_of(payloads)
        return [*found[:-2], *found[:-3:-1]]

    return [(journals, "entries_of", swapped)]


def last_forgotten() -> list[Patch]:
    return [(journals, "entries_of", lambda payloads: entries_of(payloads)[:-1])]


def children_left() -> list[Patch]:
    say = Workflow._say

    async def said(self: Workflow, kind: str, key: str, method: str, body: Any) -> bool:
        return method == control.CANCEL or await say(self, kind, key, method, body)

    return [(Workflow, "_say", said)]


def asked_anew() -> list[Patch]:
    question = Workflow._question
    return [(Workflow, "_question", lambda self: f"{question(self)}-{self._mail.now()}")]


def untaken_lost() -> list[Patch]:
    return [(Mail, "untaken", lambda self: (self._last_seq, []))]


def goes_on_terminated() -> list[Patch]:
    return [(Executions, "terminate", lambda self, lane, place: None)]


def kept_after_its_end() -> list[Patch]:
    """As the engine once had it: a step that came to its end while its run was terminated was recorded behind that."""
    return [(Attempts, "_keeps_nothing", lambda self, command: False)]


def not_told() -> list[Patch]:
    """As the engine once had it: a run that had only asked somebody was not begun anew to hear of its cancellation."""
    made = Journal.__init__

    def init(self: Journal, start: Any, own: Any, entries: list[Entry], said: Any) -> None:
        made(self, start, own, entries, said)
        self.steps.begun = len(entries) > 0

    return [(Journal, "__init__", init)]


def answers_lost() -> list[Patch]:
    """As the engine once had it: an answer in a restored log that came before its run continued as new was lost."""

    def answered(self: Mail, said: Any) -> None:
        self._answers.setdefault(said.message.id, said.message)

    return [(Mail, "_answered", answered)]


def start_unsaid() -> list[Patch]:
    """A signal that begins a run is not said to it."""
    say = controls.say

    def said(plan: Any, work: Any, command: Any, what: str, message: Any, run: Any) -> None:
        if command.method != control.START or not controls.accepted_now(plan, work.actor, run.command_id):
            say(plan, work, command, what, message, run)

    return [(controls, "say", said)]


def token_anew() -> list[Patch]:
    """Each attempt at a run waits for a token of its own."""
    made, numbers = Tokens.__init__, count()

    def init(self: Tokens, address: Any, run: str, secret: bytes, generation: int = 0) -> None:
        made(self, address, run, secret, next(numbers))

    return [(Tokens, "__init__", init)]


def suspended_unasked() -> list[Patch]:
    """As the engine once had it: a run was suspended before its question had left, for as long as an answer took."""
    waiting = Mail._waiting
    return [(Mail, "_waiting", lambda self, until: waiting(self, until if until > self.now() else inf))]
