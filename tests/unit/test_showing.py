"""What runs show beside the log: in order, by attempt, and never what is void."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from runtime import KeyValue, Turn, Workflow, function, keyvalue, workflow
from runtime.clock import ManualClock
from runtime.errors import CallFailed
from runtime.host.command import Command
from runtime.host.screens import ATTEMPTS, MOST_BYTES, Screens
from runtime.policy import RetryPolicy
from runtime.showing import Shown, show, unshow
from runtime.testing import World as ReplayingWorld
from runtime.world import World
from schemas import headers
from schemas.address import Address
from schemas.wire import Fact
from tests.host.test_regressions import lane_of

tries: list[int] = []


@workflow
async def writer(ctx: Workflow, fails: int = 0) -> str:
    """Shows what it writes."""

    async def write() -> str:
        tries.append(1)
        for piece in ("a", "b"):
            ctx.show(piece)
        if len(tries) <= fails:
            raise ValueError("it broke off")
        return "ab"

    def in_a_thread() -> None:
        show({"from": "a thread"})
        unshow()
        show("again")

    ctx.show("begins")
    text: str = await ctx.step("write", write, retry=RetryPolicy(max_attempts=3, first_delay_s=0))
    await ctx.step("thread", in_a_thread)
    ctx.show("ends")
    return text


def progress(world: World) -> list[tuple[str, int, int, Any]]:
    """(step, attempt, number, values) in the order in which they were shown."""
    return [(one.name, one.attempt, one.first, msgspec.json.decode(one.data)) for _, one in world.progress]


def test_given_steps_that_fail_and_begin_anew_when_they_show_then_each_attempt_has_a_greater_number() -> None:
    tries.clear()
    world = World(writer)
    assert world.ask(writer, "w1", "run", {"fails": 1}) == "ab"
    assert progress(world) == [
        ("", 0, 0, ["begins"]),
        ("write", 1, 0, ["a"]),
        ("write", 1, 1, ["b"]),
        ("write", 2, 0, ["a"]),
        ("write", 2, 1, ["b"]),
        ("thread", 3, 0, [{"from": "a thread"}]),
        ("thread", 4, 0, []),
        ("thread", 4, 0, ["again"]),
        ("", 0, 1, ["ends"]),
    ]


def test_given_a_workflow_that_replays_then_it_shows_nothing_again() -> None:
    tries.clear()
    world = ReplayingWorld(writer, always_replay=True)
    assert world.ask(writer, "w1", "run") == "ab"
    shown = [values for step, _, _, values in progress(world) if step == ""]
    assert shown[0] == ["begins"]
    assert shown[-1] == ["ends"]
    assert shown.count(["ends"]) == 1
    # What comes behind a crash has the number that it has without one, so that a repeat can be told from what is new.
    numbered = {(first, *values) for step, _, first, values in progress(world) if step == ""}
    assert numbered == {(0, "begins"), (1, "ends")}


@function(retry=RetryPolicy(max_attempts=2, first_delay_s=0))
async def counting(ctx: Turn) -> str:
    """Shows outside of any step: it begins anew from its start."""
    ctx.show(ctx.attempt)
    if ctx.attempt == 1:
        raise ValueError("once")
    return "done"


def test_given_a_function_that_is_tried_again_then_what_it_shows_is_of_another_attempt() -> None:
    world = World(counting)
    assert world.ask(counting, "c1", "run") == "done"
    assert progress(world) == [("", 1, 0, [1]), ("", 2, 0, [2])]


quiet = keyvalue("quiet")


@quiet.write
def say(ctx: KeyValue) -> None:
    """A decision is pure."""
    ctx.show("something")


@function(retry=RetryPolicy(max_attempts=1))
async def careless(ctx: Turn, what: str) -> None:
    """Shows what cannot be shown."""
    if what == "object":
        ctx.show(object())
    elif what == "large":
        ctx.show("x" * 600_000)
    else:
        show("outside of a step")


@pytest.mark.parametrize(
    ("kind", "args", "words"),
    [
        (quiet, None, "pure"),
        (careless, {"what": "object"}, "no JSON form"),
        (careless, {"what": "large"}, "524288 bytes"),
        (careless, {"what": "module"}, "ctx.show"),
    ],
)
def test_given_what_cannot_be_shown_then_the_error_says_why(kind: Any, args: Any, words: str) -> None:
    with pytest.raises(CallFailed, match=words):
        World(quiet, careless).ask(kind, "k", "say" if kind is quiet else "run", args)


class Sent:
    """What a pod's screens have sent."""

    def __init__(self) -> None:
        self.facts: list[tuple[str, Fact]] = []
        self.screens = Screens(self.post, ManualClock())

    def post(self, subject: str, body: bytes) -> None:
        self.facts.append((subject, msgspec.json.decode(body, type=Fact)))

    def values(self) -> list[tuple[int, int, Any]]:
        return [(fact.attempt, fact.first, msgspec.json.decode(fact.data)) for _, fact in self.facts]


def command(session: str = "s1") -> Command:
    given = {headers.ID: "r1", headers.SESSION: session}
    return Command(lane_of(1), Address("acme", "agent", "a1"), "a1", "run", given, b"")


def test_given_values_of_one_step_that_wait_then_they_are_sent_together_and_in_order() -> None:
    async def scenario() -> Sent:
        sent, run = Sent(), command()
        for number in range(3):
            sent.screens.put(run, Shown("model", 0, 7, number, b"%d" % number))
        sent.screens.put(run, Shown("model", 1, 8, 0, b'"beside"'))
        sent.screens.flush(run, "model", 0)
        sent.screens.flush(run, "model", 1)
        sent.screens.put(run, Shown("model", 0, 7, 3, b"3"))
        sent.screens.put(run, Shown("model", 0, 9, 0, b'"anew"'))
        sent.screens.put(run, Shown("model", 0, 10, 0, None))
        sent.screens.put(run, Shown("model", 0, 10, 0, b'"x%b"' % (b"x" * MOST_BYTES)))
        sent.screens.put(run, Shown("model", 0, 10, 1, b'"y"'))
        while len(sent.facts) < 7:
            await asyncio.sleep(0)
        return sent

    sent = asyncio.run(scenario())
    assert {subject for subject, _ in sent.facts} == {"ev.acme.s1"}
    *first, large, last = sent.values()
    assert first == [(7, 0, [0, 1, 2]), (8, 0, ["beside"]), (7, 3, [3]), (9, 0, ["anew"]), (10, 0, [])]
    assert (large[:2], last) == ((10, 0), (10, 1, ["y"]))
    fact = sent.facts[0][1]
    assert (fact.type, fact.name, fact.command, fact.kind, fact.key) == ("progress", "model", "r1", "agent", "a1")


def test_given_a_lane_that_is_taken_anew_then_the_attempts_of_its_new_owner_are_greater() -> None:
    screens, run = Screens(lambda _, __: None, ManualClock()), command()
    former = [screens.attempt(run) for _ in range(3)]
    assert former == sorted(set(former))
    run.lane.epoch += 1
    assert Screens(lambda _, __: None, ManualClock()).attempt(run) > former[-1]
    assert ATTEMPTS * 9_000_000 < 2**53, "a number that JSON's readers keep whole"
