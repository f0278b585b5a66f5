"""The kind `router`: what a session's message begins when no agent is named.

    await client.ask(session, "s1", "say", {"text": "I was charged twice"})

Its run picks the capability that the message means, in one step, which records how sure it was and by whom the choice
was made; then it goes on as a child run of that capability, wherever pods serve it, and answers with its answer. When
it is not sure it asks back, and takes the next message for an answer to that; when nothing fits it says so, and what
there is. It knows every kind with a `skill` that pods have registered, a moment after they have, and forgets one that
nobody has served for FORGET_AFTER_S.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from actors.models.wire import Message
from actors.router.choosing import Choice, choose
from actors.router.lexical import Profile
from actors.sessions.session import Answer, Task
from actors.sessions.transcript import Line
from actors.words import words
from runtime import Rejected, Workflow
from runtime.kind import Behaviour
from runtime.policy import RetryPolicy
from runtime.workflow import WorkflowKind
from schemas.conversation import KIND as SESSION
from schemas.conversation import ROUTER
from schemas.wire import Capability

FORGET_AFTER_S = 60.0
"""Seconds for which a capability is offered that no living pod serves: they may be starting again."""

LOOKED_BACK = 6
"""Messages before the one to be routed that are looked at."""

SHOWN = 10
"""Capabilities that an answer names, at most."""

SHOWN_CHARACTERS = 160
CHOOSING_TRIES = RetryPolicy(max_attempts=5)


class Routed(Struct, frozen=True, omit_defaults=True):
    """What the step of a router results in.

    Attributes:
        to: the kind that goes on; empty when none does.
        text: what it is told: the message, with what it answers before it.
        choice: how that came about; None when the message answers a question of `to`.
        offered: (name, description) of what the answer names.
        there_are: how many capabilities there are.
    """

    to: str = ""
    text: str = ""
    choice: Choice | None = None
    offered: tuple[tuple[str, str], ...] = ()
    there_are: int = 0


class Router(WorkflowKind):
    """A kind whose runs pick who answers.

    Args:
        name: the kind's; a session's messages go to `router` when they name nobody.
        fallback: the kind that answers when nothing fits, or when it is not sure; by default it says so, or asks back.
        run_timeout_s: of one run, the capability's included.
    """

    def __init__(
        self, name: str = ROUTER, *, fallback: str | None = None, run_timeout_s: float | None = 3600.0
    ) -> None:
        super().__init__(name, self._answer, "join", None, Behaviour(), run_timeout_s)
        self.description = "Picks the capability that a sentence means, and answers with its answer."
        self.fallback = fallback
        self._away: dict[str, float] = {}

    async def _answer(self, ctx: Workflow, task: Task) -> Answer:
        """Answers a message by whoever it is for."""

        async def route() -> Routed:
            return await self._route(ctx, task)

        routed = await ctx.step("route", route, returns=Routed, retry=CHOOSING_TRIES)
        if not routed.to:
            text = _asked_back(routed) if routed.choice and routed.choice.outcome == "unsure" else _nothing(routed)
            return Answer(text, (Message("assistant", text, name=self.name),), self.name)
        found = await ctx.child(routed.to, f"{ctx.key}/1", replace(task, text=routed.text), returns=Any)
        return _answer_of(routed.to, found)

    async def _route(self, ctx: Workflow, task: Task) -> Routed:
        profiles = self._offered(await ctx.kinds(), ctx.now)
        known = {profile.name: profile for profile in profiles}
        before = await self._before(ctx, task)
        asked = before[-1].message if before else None
        text = task.text
        if asked is not None and asked.name == self.name and len(before) > 1:
            # It has asked back: what was said first is meant, and this says how.
            text = f"{before[-2].message.content}\n{task.text}"
            named = [name for name in known if set(words(name.replace("_", " "))) <= set(words(task.text))]
            if len(named) == 1:
                return Routed(named[0], text, Choice("sure", named[0], 1.0))
        choice = await choose(profiles, text, [line.message for line in before])
        if choice.outcome == "sure":
            return Routed(choice.name, text, choice)
        if asked is not None and asked.name in known and asked.content.rstrip().endswith("?"):
            return Routed(asked.name, text)  # it answers what that one has asked
        if self.fallback is not None:
            return Routed(self.fallback, text, choice)
        named_ones = [one.name for one in choice.candidates] or [profile.name for profile in profiles[:SHOWN]]
        shown = tuple((name, known[name].description[:SHOWN_CHARACTERS]) for name in named_ones)
        return Routed("", text, choice, shown, len(profiles))

    async def _before(self, ctx: Workflow, task: Task) -> list[Line]:
        """What was said just before, by people and agents, in order."""
        if not task.session or task.upto <= 1:
            return []
        wanted = {"upto": task.upto - 1, "limit": LOOKED_BACK}
        _, lines = await ctx.look(SESSION, task.session, "window", wanted, type=tuple[str, list[Line]])
        return [line for line in lines if line.message.role in ("user", "assistant") and line.message.content]

    def _offered(self, kinds: Sequence[Capability], now: float) -> list[Profile]:
        for kind in kinds:
            if kind.served:
                self._away.pop(kind.kind, None)
            elif kind.skill is not None:
                self._away.setdefault(kind.kind, now)
        return [
            Profile(kind.kind, kind.skill.description, kind.skill.examples)
            for kind in kinds
            if kind.skill is not None and now - self._away.get(kind.kind, now) < FORGET_AFTER_S
        ]


def _answer_of(kind: str, found: Any) -> Answer:
    """What a capability has answered, which may be a text alone. Raises Rejected for what is no answer."""
    if isinstance(found, str):
        return Answer(found, (Message("assistant", found, name=kind),), kind)
    try:
        return msgspec.convert(found, Answer)
    except msgspec.ValidationError as error:
        text = f"capability {kind!r} gives what is no answer: {error}; let it return a text or an Answer"
        raise Rejected(text) from error


def _asked_back(routed: Routed) -> str:
    offered = [f"{_spoken(name)} ({text.rstrip('.')})" if text else _spoken(name) for name, text in routed.offered]
    if len(offered) == 1:
        return f"I am not sure what you mean. Is it about {offered[0]}?"
    return f"I am not sure what you mean. Is it about {', '.join(offered[:-1])} or {offered[-1]}?"


def _nothing(routed: Routed) -> str:
    if not routed.offered:
        return "There is nothing here yet that could answer this: no capability is served."
    lines = [f"- {_spoken(name)}" + (f": {text}" if text else "") for name, text in routed.offered]
    more = routed.there_are - len(lines)
    return "\n".join(["Nothing here fits that. What there is:", *lines, *([f"and {more} more"] if more > 0 else [])])


def _spoken(name: str) -> str:
    return name.replace("_", " ")




router = Router()
