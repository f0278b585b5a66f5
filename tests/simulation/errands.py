"""Workflows of a history, and the world outside in which their steps do something (flows.py judges them)."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec import Struct

from runtime.entity import entity
from runtime.flow.context import Workflow
from runtime.policy import RetryPolicy
from runtime.turn import Turn
from runtime.workflow import workflow

if TYPE_CHECKING:
    from tests.simulation.scheduler import Scheduler

NAP_S = 0.12
LEG_S = 0.25
WORD_S = 40.0
"""Longer than any history lasts: a word that does not come was lost."""

ITEMS = ("step", "step", "step", "flaky", "word", "nap", "pair", "leg", "note", "race", "again", "token", "token")
WORDS = ("word", "race")
"""Items that take a word, if there is one."""


@dataclasses.dataclass(frozen=True, slots=True)
class Deed:
    """What a step did outside: in which place of a run, and when it began to (virtual seconds)."""

    place: str
    at: float


class Outside:
    """The world in which steps do something. One history at a time has it."""

    def __init__(self) -> None:
        self._scheduler: Scheduler | None = None
        self._given: Callable[[str, str], None] | None = None
        self.deeds: list[Deed] = []

    def begin(self, scheduler: Scheduler, given: Callable[[str, str], None]) -> None:
        """Another history begins: nothing has been done in it. `given` hears of each token: (place, token)."""
        self._scheduler, self._given, self.deeds = scheduler, given, []

    def end(self) -> None:
        """The history is over: nothing of it is held here."""
        self._scheduler, self._given, self.deeds = None, None, []

    def did(self, place: str) -> int:
        """How often something was done in a place."""
        return sum(deed.place == place for deed in self.deeds)

    async def do(self, place: str, fails: int) -> str:
        """Does something for a while; what it gives is another one each time. The first `fails` times it fails."""
        assert self._scheduler is not None
        self._scheduler.say(f"outside: {place} is done")
        self.deeds.append(Deed(place, self._scheduler.now))
        number = len(self.deeds)
        await asyncio.sleep(0.02 * self._scheduler.rng.random() ** 2)
        if self.did(place) <= fails:
            raise OSError(f"{place} is not to be had yet")
        return f"{place} #{number}"

    async def hand_out(self, place: str, token: str) -> None:
        """Gives somebody a token, who says with it what came of the place."""
        assert self._scheduler is not None and self._given is not None
        self._scheduler.say(f"outside: {place} has its token")
        self.deeds.append(Deed(place, self._scheduler.now))
        self._given(place, token)


outside = Outside()


def came_of(place: str) -> str:
    """What whoever has the token of a place says of it."""
    return f"what came of {place}"


def place_of(run: str, item: str) -> str:
    """How what an item of a run does is called outside."""
    return f"{run}/{item}"


class Noted(Struct, frozen=True):
    """An errand came by in this place."""

    place: str


class Places(Struct, frozen=True):
    """How many have been noted."""

    count: int = 0


def counted(state: Places, event: Noted) -> Places:
    """One more."""
    return Places(state.count + 1)


tally = entity("tally", initial=Places(), apply=counted)


@tally.command
def note(state: Places, place: str, ctx: Turn) -> Noted:
    """Notes a place, and answers with how many there are."""
    ctx.reply(state.count + 1)
    return Noted(place)


@workflow("leg")
async def leg(ctx: Workflow, place: str) -> str:
    """A part of an errand, on its own: it takes its time, and undoes what it did when it is cancelled."""
    try:
        begun: str = await ctx.step("begin", outside.do, place_of(place, "begin"), 0, returns=str)
        await ctx.sleep(LEG_S)
        await ctx.step("end", outside.do, place_of(place, "end"), 0)
    except asyncio.CancelledError:
        await ctx.step("undo", outside.do, place_of(place, "undo"), 0)
        raise
    return begun


@workflow("errand", on_existing="reject", step_retry=RetryPolicy(max_attempts=4, first_delay_s=0.03, max_delay_s=0.1))
async def errand(ctx: Workflow, script: list[str], at: int = 0, got: list[str] | None = None) -> list[str]:
    """Does what its script says, item by item, and gives what it got of each."""
    found = list(got or [])
    try:
        for number in range(at, len(script)):
            if script[number] == "again":
                ctx.continue_as_new({"script": script, "at": number + 1, "got": found})
            found += await _item(ctx, script[number], number)
    except asyncio.CancelledError:
        await ctx.step("undo", outside.do, place_of(ctx.command_id, "undo"), 0)
        raise
    return found


async def _item(ctx: Workflow, what: str, number: int) -> list[str]:
    name = f"{what}{number}"
    place = place_of(ctx.command_id, name)
    match what:
        case "step" | "flaky":
            found = [await ctx.step(name, outside.do, place, 2 if what == "flaky" else 0, returns=str)]
        case "pair":
            names = [f"{side} {name}" for side in ("left", "right")]
            both = [ctx.step(one, outside.do, place_of(ctx.command_id, one), 0, returns=str) for one in names]
            found = await ctx.parallel(both)
        case "word":
            found = [await ctx.signal("word", returns=str, timeout_s=WORD_S)]
        case "nap":
            await ctx.sleep(NAP_S)
            found = [name]
        case "race":
            _, first = await ctx.select(nap=ctx.sleep(NAP_S), word=ctx.signal("word", returns=str))
            found = [first or name]
        case "leg":
            found = [await ctx.child(leg, f"{ctx.key}.{number}", {"place": place}, returns=str)]
        case "token":
            found = [await ctx.external(name, outside.hand_out, place, returns=str, timeout_s=WORD_S)]
        case "note":
            found = [f"note {await ctx.ask(tally, 'tally', 'note', {'place': place}, type=int)}"]
        case _:
            raise AssertionError(f"no script says {what}")
    return found
