"""Sessions that are watched: readers who come and go, resume where they left off, and what must be true of them."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections import Counter
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import msgspec

from runtime.client import Client
from runtime.client.feed import Feed, Watcher
from runtime.client.ordered import OrderedReader
from runtime.client.stored import StreamReset
from runtime.errors import CallFailed, NotConnected
from schemas import subjects
from schemas.address import actor_id
from schemas.wire import Fact
from tests.simulation.clients import PAUSE_S

if TYPE_CHECKING:
    from tests.simulation.history import History

SESSIONS = ("tab", "app")
WATCHED_P = 0.2
"""How often anybody watches: a history in which nobody does has no sessions."""

STAYS_S = 1.5
OPEN_S = 5.0

_decode_fact = msgspec.json.Decoder(Fact).decode


@dataclasses.dataclass(slots=True, eq=False)
class Watch:
    """One who watches a session: what it was shown, begun anew at each reset."""

    session: str
    position: int = 0
    """Behind which it goes on when it comes back."""
    shown: list[list[tuple[int, bytes]]] = dataclasses.field(default_factory=lambda: [[]])

    @property
    def subject(self) -> str:
        """Of the session's facts."""
        return subjects.events("default", self.session)


def draw_sessions(rng: random.Random) -> tuple[str, ...]:
    """The sessions of a history."""
    return SESSIONS if rng.random() < WATCHED_P else ()


async def watch(history: History, client: Client, made: Watch, feed: Feed | None) -> None:
    """Watches for ever: by a cursor of its own, or by the feed of its process. It leaves now and then."""
    rng = history.scheduler.rng
    while True:
        try:
            reader = await _open(client, made, feed)
        except StreamReset as reset:
            _begin_anew(made, reset)
            continue
        except (CallFailed, NotConnected):
            await asyncio.sleep(PAUSE_S)
            continue
        try:
            async with asyncio.timeout(STAYS_S * rng.random()):
                while True:
                    entry = await reader.next()
                    made.shown[-1].append((entry.sequence, entry.body))
                    made.position = entry.sequence
        except StreamReset as reset:
            _begin_anew(made, reset)
        except (TimeoutError, NotConnected):
            pass
        finally:
            await reader.close()


async def _open(client: Client, made: Watch, feed: Feed | None) -> OrderedReader | Watcher:
    if feed is None:
        return await client.read_session(made.session, made.position, timeout_s=OPEN_S)
    return await feed.watch(made.subject, made.position, timeout_s=OPEN_S)


def _begin_anew(made: Watch, reset: StreamReset) -> None:
    made.shown.append([])
    made.position = reset.last


def caught_up(history: History) -> bool:
    """Whether everybody has been shown what the stream holds."""
    facts = history.broker.facts
    for made in history.watches:
        held = facts.of(made.subject)
        if held and held[-1] > made.position:
            return False
    return True


# -- what must be true ------------------------------------------------------------------------------------------------


def check_watches(history: History) -> list[str]:
    """What is wrong, in words."""
    if not history.watches:
        return []
    cut = any(fault.what == "power cut" for fault in history.faults)
    problems: list[str] = []
    for made in history.watches:
        problems += _check_shown(history, made, cut)
    if not cut:  # it takes facts whose commands are in the log
        problems += _check_facts(history)
    return problems


def _check_shown(history: History, made: Watch, cut: bool) -> list[str]:
    """No gap, none twice, in order."""
    broker = history.broker
    for shown in made.shown:
        sequences = [sequence for sequence, _ in shown]
        if any(later <= earlier for earlier, later in pairwise(sequences)):
            return [f"a reader of {made.session} was shown {sequences}"]
        if strange := [one for one in shown if (made.subject, *one) not in broker.facts_once]:
            return [f"a reader of {made.session} was shown what the stream never held: {strange[0]}"]
    if cut:
        return []  # sequences were given out again: what lay between may be missed
    held = [(seq, broker.facts.messages[seq].body) for seq in broker.facts.of(made.subject)]
    if made.shown != [held]:
        told = [[sequence for sequence, _ in shown] for shown in made.shown]
        return [f"a reader of {made.session} was shown {told}; the stream has {[seq for seq, _ in held]}"]
    return []


def _check_facts(history: History) -> list[str]:
    """Each event of a session's command is one fact, in the log's order, and each outcome is one."""
    store, problems = history.store, []
    restored = len(store.past) > 0
    facts = [_decode_fact(message.body) for message in history.broker.facts.messages.values()]
    events = Counter((fact.position, fact.command, bytes(fact.data)) for fact in facts if fact.type == "event")
    outcomes = Counter((fact.kind, fact.key, fact.command) for fact in facts if fact.type in ("result", "error"))
    lanes: dict[str, int] = {}
    for fact in facts if not restored else ():
        if fact.position is not None:
            lane, _, position = fact.position.partition(":")
            if int(position) <= lanes.get(lane, 0):
                problems.append(f"the fact of position {fact.position} came behind that of {lanes[lane]}")
            lanes[lane] = int(position)
    for done in history.done:
        op = done.op
        if op.session is None or op.kind not in ("account", "frail"):
            continue
        actor = actor_id("default", op.kind, op.key)
        for row in store.events.get(actor, ()):
            if row.command_id == done.id and not row.type.startswith("troupe."):
                place = (f"{row.lane}:{row.position}", row.command_id, row.payload.encode())
                problems += _once(restored, events[place], f"event {row.seq} of {op.key} ({done.id})")
        if (actor, done.id) in store.inbox:
            problems += _once(restored, outcomes[op.kind, op.key, done.id], f"the outcome of {done.id} of {op.key}")
    return problems


def _once(restored: bool, times: int, what: str) -> list[str]:
    """A log that was put back says again what its other copy had said."""
    if times == 1 or (restored and times > 1):
        return []
    return [f"{what} is {times} facts of its session"]


def start_watching(history: History) -> None:
    """One who watches as clients do, and a gateway with two watchers, each in a process of its own."""
    if not history.sessions:
        return
    own, gateway = history.client_node("watcher"), history.client_node("gateway")
    for here, sessions in ((own, history.sessions[:1]), (gateway, history.sessions)):
        made = [Watch(session) for session in sessions]
        history.watches += made
        here.node.start(_watch_all(history, here, made, with_feed=here is gateway))


async def _watch_all(history: History, here: Any, watches: list[Watch], *, with_feed: bool) -> None:
    await here.client.open()
    feed = here.client.feed() if with_feed else None
    watching = [asyncio.ensure_future(watch(history, here.client, one, feed)) for one in watches]
    for one in watching:
        one.add_done_callback(partial(_ended, history))
    await asyncio.wait(watching)


def _ended(history: History, task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        history.problems.append(f"watching ended with {task.exception()!r}")
