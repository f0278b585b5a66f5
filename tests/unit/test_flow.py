"""Workflows are deterministic: an attempt that dies after any entry is taken up by one that does the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from runtime.clock import ManualClock
from runtime.errors import BadResult, Cancelled, Rejected, StepFailed
from runtime.flow.context import Workflow
from runtime.flow.saga import ContinueAsNew
from runtime.pace import NotDurable
from runtime.policy import RetryPolicy
from runtime.recorder import StepsDiverged
from runtime.workflow import WorkflowKind, workflow
from runtime.world_flow import VirtualTime
from schemas.approvals import KIND
from tests.support.flows import Died, Flow

ran: list[Any] = []


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    ran.clear()


def note(value: Any) -> Any:
    """What a step does outside."""
    ran.append(value)
    return value


def replayed(flow: Flow, kind: WorkflowKind | None = None) -> Any:
    """The result of a further attempt, which must find all as it was."""
    try:
        return flow.attempt(kind=kind)
    except BadResult as error:
        raise AssertionError(str(error)) from error


@workflow
async def in_a_row(ctx: Workflow) -> list[Any]:
    return [await ctx.step("one", note, 1), await ctx.step("two", note, 2), await ctx.step("two", note, 3)]


@workflow
async def side_by_side(ctx: Workflow) -> list[Any]:
    order: list[Any] = []

    async def take(number: int) -> None:
        order.append(await ctx.step("take", note, number))
        order.append(await ctx.step("again", note, 10 + number))

    async with asyncio.TaskGroup() as group:
        for number in range(4):
            group.create_task(take(number))
    return order


@workflow
async def with_a_queue(ctx: Workflow) -> list[Any]:
    queue: asyncio.Queue[int] = asyncio.Queue()
    lock, begun = asyncio.Lock(), asyncio.Event()
    taken: list[Any] = []

    async def produce(number: int) -> None:
        await begun.wait()
        async with lock:
            await queue.put(await ctx.step("produce", note, number))

    async def consume() -> None:
        for _ in range(3):
            taken.append(await ctx.step("consume", note, 100 + await queue.get()))

    consumer = asyncio.create_task(consume())
    producers = [asyncio.create_task(produce(number)) for number in range(3)]
    await ctx.sleep(1)
    begun.set()
    for done in asyncio.as_completed(producers):
        await done
    await consumer
    return taken


@workflow
async def races(ctx: Workflow) -> list[Any]:
    heard: list[Any] = [await ctx.select(signal=ctx.signal("go"), time=ctx.sleep(5))]
    done, rest = await asyncio.wait(
        {ctx.spawn(ctx.sleep(number)) for number in (30, 20)}, return_when=asyncio.FIRST_COMPLETED
    )
    heard.append((len(done), len(rest)))
    try:
        async with ctx.timeout(7):
            await ctx.signal("never")
    except TimeoutError:
        heard.append("timeout")
    heard.append(await ctx.signal("go", timeout_s=1, default="none"))
    heard.append(await ctx.race(ctx.step("slow", note, "slow"), ctx.sleep(0)))
    return [*heard, ctx.now, ctx.uuid(), ctx.random.random()]


@workflow
async def mapped(ctx: Workflow) -> list[Any]:
    async def double(number: int) -> int:
        return 2 * int(await ctx.step("double", note, number))

    named = await ctx.gather(a=ctx.step("a", note, "a"), b=ctx.step("b", note, "b"))
    return [named, await ctx.map(double, range(5), limit=2)]


@pytest.mark.parametrize("kind", [in_a_row, side_by_side, with_a_queue, mapped], ids=lambda kind: kind.name)
def test_given_a_run_that_dies_after_each_of_its_entries_then_each_step_runs_once_and_the_result_is_the_same(
    kind: WorkflowKind,
) -> None:
    whole = Flow(kind)
    expected = replayed(whole)
    steps = sorted(map(str, ran))
    for entries in range(len(whole.entries)):
        ran.clear()
        flow = Flow(kind)
        with pytest.raises(Died):
            flow.attempt(dies_after=entries)
        completed = len(flow.entries)
        before = len(ran)
        result = replayed(flow)
        assert sorted(flow.names()) == sorted(whole.names())
        assert len(ran) - before == len(steps) - sum(not name.startswith("$") for name in flow.names()[:completed])
        again = Flow(kind, entries=flow.entries)
        ran.clear()
        assert replayed(again) == result, "a replay of the whole journal is the same, and runs nothing"
        assert ran == []
        if kind is in_a_row:
            assert result == expected


def test_given_a_run_that_dies_at_each_new_entry_then_it_gets_to_its_end_and_no_step_ran_twice() -> None:
    for kind in (side_by_side, with_a_queue, mapped):
        flow = Flow(kind)
        ran.clear()
        for entries in range(1, 60):
            try:
                flow.attempt(dies_after=entries)
                break
            except Died:
                assert len(flow.entries) == entries
        recorded = [entry.result for entry in flow.entries if not entry.step.startswith("$")]
        assert len(set(map(bytes, recorded))) == len(recorded)


def test_given_signals_times_and_races_when_replayed_at_any_point_then_all_is_as_before() -> None:
    whole = Flow(races, signals=[("go", 1), ("go", 2)])
    expected = whole.attempt()
    assert expected[:5] == [["signal", 1], [1, 1], "timeout", 2, None]
    for entries in range(len(whole.entries)):
        flow = Flow(races, signals=[("go", 1), ("go", 2)])
        with pytest.raises(Died):
            flow.attempt(dies_after=entries)
        first = flow.attempt()
        assert first[:5] == expected[:5]
        assert first[6:] == expected[6:], "random numbers are the run's own"
        ran.clear()
        assert flow.attempt() == first
        assert ran == []


async def quick() -> int:
    """A step that is done before the signal is recorded as taken."""
    return 1


@workflow
async def leaves_it(ctx: Workflow) -> list[Any]:
    first = await ctx.select(step=ctx.step(quick), signal=ctx.signal("go"))
    return [first, await ctx.signal("go")]


def test_given_a_signal_that_came_for_a_wait_which_was_given_up_then_the_next_wait_gets_it() -> None:
    expected = [["step", 1], "the only one"]
    whole = Flow(leaves_it, signals=[("go", "the only one")])
    assert replayed(whole) == expected
    assert whole.names() == ["quick", "$signal go", "$signal go"], "it was taken for the first wait as well"
    for entries in range(3):
        flow = Flow(leaves_it, signals=[("go", "the only one")])
        with pytest.raises(Died):
            flow.attempt(dies_after=entries)
        assert flow.attempt() == expected
        assert replayed(flow) == expected


def test_given_a_signal_that_is_given_back_while_the_next_wait_goes_on_then_that_has_it_at_once() -> None:
    flow = Flow(leaves_it, signals=[("go", "the only one")], turns={"$signal go": 40})
    began = flow.clock.now()
    flow.attempt()
    assert flow.clock.now() == began


@workflow
async def takes_them_in_order(ctx: Workflow) -> list[int]:
    await ctx.race(ctx.step(quick), ctx.signal("go"))
    return [await ctx.signal("go", returns=int), await ctx.signal("go", returns=int)]


def test_given_a_signal_that_is_being_taken_when_its_wait_is_given_up_then_the_next_wait_gets_it_first() -> None:
    flow = Flow(takes_them_in_order, signals=[("go", 1), ("go", 2)], turns={"$signal go": 40})
    assert flow.attempt() == [1, 2]
    assert flow.attempt() == [1, 2]


@workflow
async def leaves_it_to_the_next(ctx: Workflow) -> None:
    await ctx.race(ctx.step(quick), ctx.signal("go"))
    ctx.continue_as_new()


@pytest.mark.parametrize("recorded", [False, True])
def test_given_a_signal_that_is_being_taken_when_a_run_continues_as_new_then_it_is_kept_for_that(
    recorded: bool,
) -> None:
    flow = Flow(leaves_it_to_the_next, signals=[("go", 1), ("go", 2)])
    with pytest.raises(ContinueAsNew):
        flow.attempt()
    assert flow.untaken == (2, [1, 2])
    if recorded:
        assert flow.entries.pop().step == "$continued"
        assert flow.names() == ["quick", "$signal go"], "a process that died before it had continued"
        with pytest.raises(ContinueAsNew):
            flow.attempt()
        assert flow.untaken == (2, [1, 2])


async def stubborn() -> int:
    """A step that goes on for a while after it was cancelled, and has a result."""
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        for _ in range(30):
            await asyncio.sleep(0)
    return 1


@workflow
async def leaves_a_step(ctx: Workflow) -> None:
    await ctx.race(ctx.step(quick), ctx.step(stubborn))
    ctx.continue_as_new()


def test_given_a_step_that_outlives_its_cancellation_when_the_run_continues_as_new_then_it_is_none_of_the_new_one() -> (
    None
):
    flow = Flow(leaves_a_step, turns={"$continued": 60})
    with pytest.raises(ContinueAsNew):
        flow.attempt()
    assert flow.names() == ["quick", "$continued"]


def changed(*lines: Callable[[Workflow], Any]) -> WorkflowKind:
    """The workflow `in_a_row` with other lines."""

    @workflow("in_a_row")
    async def handler(ctx: Workflow) -> list[Any]:
        return [await line(ctx) for line in lines]

    return handler


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (
            changed(lambda ctx: ctx.step("one", note, 1), lambda ctx: ctx.step("new", note, 2)),
            r"request 2: recorded is 'two' .* and now 'new' is asked for, with \[\[2\],\{\}\]",
        ),
        (
            changed(lambda ctx: ctx.step("one", note, 7)),
            r"request 1: recorded is 'one' with arguments of digest .* asked for with \[\[7\],\{\}\]",
        ),
        (
            changed(lambda ctx: ctx.step("one", note, 1), lambda ctx: ctx.step("two", note, 2)),
            r"recorded is request 3, 'two' .* the code has made 2 requests and is at its end",
        ),
        (
            changed(lambda ctx: asyncio.gather(ctx.step("one", note, 1), asyncio.Event().wait())),
            r"recorded is request 2, 'two' .* the code has made 1 requests and is at .*test_flow.py:\d+",
        ),
    ],
    ids=["another step", "other arguments", "fewer steps", "waits elsewhere"],
)
def test_given_changed_code_when_replayed_then_the_first_difference_is_told_and_nothing_runs(
    code: WorkflowKind, expected: str
) -> None:
    flow = Flow(in_a_row)
    flow.attempt()
    ran.clear()
    with pytest.raises(StepsDiverged, match=expected) as raised:
        flow.attempt(kind=code)
    assert "ctx.patched" in str(raised.value)
    assert "fork" in str(raised.value)
    assert ran == []


def test_given_changed_code_when_it_asks_otherwise_then_the_line_is_told() -> None:
    flow = Flow(in_a_row)
    flow.attempt()

    @workflow("in_a_row")
    async def other(ctx: Workflow) -> None:
        await ctx.step("eins", note, 1)

    with pytest.raises(StepsDiverged, match=r"left its journal at .*test_flow\.py:\d+: request 1: recorded is 'one'"):
        flow.attempt(kind=other)


def test_given_a_divergence_while_tasks_undo_what_they_did_then_all_of_them_end() -> None:
    @workflow("grouped")
    async def before(ctx: Workflow) -> None:
        await undoing(ctx, [1, 2, 3])

    @workflow("grouped")
    async def after(ctx: Workflow) -> None:
        await undoing(ctx, [3, 2, 1])

    async def undoing(ctx: Workflow, order: list[int]) -> None:
        async def one(number: int, undo: int) -> None:
            try:
                await ctx.step("do", note, number)
                await ctx.signal("never", timeout_s=10_000)
            except asyncio.CancelledError:
                await ctx.step("undo", note, undo)
                await ctx.step("undone", note, undo)
                raise

        async with asyncio.TaskGroup() as group:
            for number, undo in zip([1, 2, 3], order, strict=True):
                group.create_task(one(number, undo))

    flow = Flow(before, cancel_after=3)
    with pytest.raises(Cancelled):
        flow.attempt()
    with pytest.raises(StepsDiverged, match="recorded is 'undo' with arguments of digest"):
        flow.attempt(kind=after)


def test_given_code_that_swallows_a_divergence_then_it_is_raised_all_the_same() -> None:
    @workflow("one_step")
    async def one_step(ctx: Workflow) -> None:
        await ctx.step("one", note, 1)

    flow = Flow(one_step)
    flow.attempt()

    @workflow("one_step")
    async def stubborn(ctx: Workflow) -> str:
        try:
            await ctx.step("eins", note, 1)
        except StepsDiverged:
            pass
        return "done"

    with pytest.raises(StepsDiverged):
        flow.attempt(kind=stubborn)


def test_given_a_patch_then_old_runs_go_the_old_way_and_new_ones_the_new_way_whatever_dies() -> None:
    @workflow("patched")
    async def old(ctx: Workflow) -> list[Any]:
        return [await ctx.step("first", note, 1), await ctx.step("old", note, 2), await ctx.step("last", note, 3)]

    @workflow("patched")
    async def new(ctx: Workflow) -> list[Any]:
        got = [await ctx.step("first", note, 1)]
        got.append(await ctx.step("new", note, 20) if ctx.patched("new-way") else await ctx.step("old", note, 2))
        return [*got, await ctx.step("last", note, 3), ctx.patched("new-way")]

    for entries, second in [(0, 20), (1, 20), (2, 2), (3, 2)]:
        flow = Flow(old)
        if entries < 3:
            with pytest.raises(Died):
                flow.attempt(dies_after=entries)
        else:
            flow.attempt()
        assert replayed(flow, new) == [1, second, 3, second == 20]
        ran.clear()
        assert replayed(flow, new) == [1, second, 3, second == 20]
        assert ran == []
    for entries in range(5):
        flow = Flow(new)
        if entries < 4:
            with pytest.raises(Died):
                flow.attempt(dies_after=entries)
        assert flow.attempt() == [1, 20, 3, True]


async def _thread(ctx: Workflow) -> None:
    await asyncio.to_thread(note, 1)


async def _sleeps(ctx: Workflow) -> None:
    await asyncio.sleep(0.01)


async def _timeout(ctx: Workflow) -> None:
    async with asyncio.timeout(1):
        await ctx.sleep(2)


async def _wait_for(ctx: Workflow) -> None:
    await asyncio.wait_for(asyncio.get_running_loop().create_future(), 1)


async def _later(ctx: Workflow) -> None:
    asyncio.get_running_loop().call_later(0.01, note, 1)


async def _connects(ctx: Workflow) -> None:
    await asyncio.open_connection("127.0.0.1", 1)


async def _process(ctx: Workflow) -> None:
    await asyncio.create_subprocess_exec("true")


@pytest.mark.parametrize(
    ("code", "use"),
    [
        (_thread, "do it in a step"), (_sleeps, "ctx.sleep"), (_timeout, "ctx.timeout"), (_wait_for, "ctx.timeout"),
        (_later, "ctx.sleep"), (_connects, "do it in a step"), (_process, "do it in a step"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)  # fmt: skip
def test_given_what_cannot_be_replayed_then_it_fails_at_once_and_says_what_to_use(code: Any, use: str) -> None:
    with pytest.raises(NotDurable, match=rf"at .*test_flow\.py:\d+.*{use}"):
        Flow(workflow(code)).attempt()


def test_given_what_is_forbidden_outside_when_it_is_in_a_step_then_it_is_allowed() -> None:
    async def outside() -> int:
        async with asyncio.timeout(5):
            await asyncio.sleep(0)
            return int(await asyncio.to_thread(note, 3))

    @workflow
    async def allowed(ctx: Workflow) -> int:
        await asyncio.sleep(0)
        return int(await ctx.step(outside))

    assert Flow(allowed).attempt() == 3


def test_given_a_run_that_something_outside_wakes_then_it_fails_and_says_so() -> None:
    foreign: list[asyncio.Future[None]] = []
    waits: list[bool] = []

    async def wake() -> None:
        while not waits:
            await asyncio.sleep(0)
        foreign[0].set_result(None)

    @workflow
    async def woken(ctx: Workflow) -> None:
        foreign.append(asyncio.get_running_loop().create_future())
        ctx.spawn(ctx.step("outside", wake))
        await ctx.step("one", note, 1)
        waits.append(True)
        await foreign[0]
        await ctx.step("two", note, 2)

    with pytest.raises(NotDurable, match=r"something outside woke"):
        Flow(woken).attempt()


def test_given_tasks_that_wait_for_one_another_then_the_run_fails_and_says_where() -> None:
    @workflow
    async def stuck(ctx: Workflow) -> None:
        await ctx.step("one", note, 1)
        await asyncio.Event().wait()

    with pytest.raises(NotDurable, match=r"nothing can wake it"):
        Flow(stuck).attempt()


def failing(times: int) -> Callable[[], str]:
    def fail() -> str:
        ran.append("try")
        if len(ran) <= times:
            raise ValueError("not yet")
        return "done"

    return fail


def test_given_a_step_that_fails_then_it_is_tried_by_its_policy_and_the_last_failure_is_recorded() -> None:
    policy = RetryPolicy(max_attempts=3, first_delay_s=1, jitter=0)

    @workflow
    async def tries(ctx: Workflow, times: int) -> str:
        try:
            return str(await ctx.step("fail", failing(times), retry=policy))
        except StepFailed as error:
            return f"{error} and undone: {await ctx.step('undo', note, 'undo')}"

    flow = Flow(tries, b'{"times": 2}')
    assert flow.attempt() == "done"
    assert flow.clock.now() - 1_700_000_000 == 3
    ran.clear()
    flow = Flow(tries, b'{"times": 3}')
    assert flow.attempt().endswith("on attempt 3 the last time: ValueError: not yet and undone: undo")
    assert ran == ["try"] * 3 + ["undo"]
    ran.clear()
    assert flow.attempt().endswith("and undone: undo")
    assert ran == []


def test_given_a_pause_that_began_when_the_clock_was_moved_already_then_it_ends_all_the_same() -> None:
    async def scenario() -> None:
        clock = ManualClock()
        time = VirtualTime(clock)
        due = clock.now() + 60
        clock.advance(60)
        pause = asyncio.create_task(time.pause(30))
        await asyncio.sleep(0)
        time.skip(due)
        await asyncio.sleep(0)
        assert pause.done()

    asyncio.run(scenario())


@workflow
async def trip(ctx: Workflow, fails: bool) -> str:
    async with ctx.saga() as saga:
        for leg in ("flight", "hotel", "car"):
            saga.undo(f"cancel {leg}", note, f"cancel {leg}")
            await ctx.step(leg, note, leg)
        await ctx.sleep(60)
        if fails:
            raise Rejected("no money")
    return "booked"


UNDONE = ["flight", "hotel", "car", "cancel car", "cancel hotel", "cancel flight"]


def test_given_a_saga_when_it_fails_or_is_cancelled_then_all_is_undone_in_reverse_whatever_dies() -> None:
    with pytest.raises(Rejected):
        Flow(trip, b'{"fails": true}').attempt()
    assert ran == UNDONE
    for entries in range(3, 7):
        ran.clear()
        flow = Flow(trip, b'{"fails": false}', cancel_after=3)
        with pytest.raises(Died):
            flow.attempt(dies_after=entries)
        with pytest.raises(Cancelled, match="a test wants it"):
            flow.attempt()
        assert list(dict.fromkeys(ran)) == UNDONE
        assert flow.names()[3] == "$cancelled"
        ran.clear()
        with pytest.raises(Cancelled):
            flow.attempt()
        assert ran == []
    ran.clear()
    assert Flow(trip, b'{"fails": false}').attempt() == "booked"


def test_given_a_run_cancelled_in_a_group_then_its_tasks_are_too_and_may_undo_what_they_did() -> None:
    @workflow
    async def grouped(ctx: Workflow) -> None:
        async def one(number: int) -> None:
            try:
                await ctx.step("do", note, number)
                await ctx.signal("never", timeout_s=10_000)
            except asyncio.CancelledError:
                await ctx.step("undo", note, -number)
                raise

        async with asyncio.TaskGroup() as group:
            for number in range(1, 9):
                group.create_task(one(number))

    flow = Flow(grouped, cancel_after=8)
    with pytest.raises(Cancelled):
        flow.attempt()
    assert sorted(map(abs, ran)) == sorted([*range(1, 9), *range(1, 9)])
    ran.clear()
    with pytest.raises(Cancelled):
        replayed(flow)
    assert ran == []


def test_given_a_person_to_ask_when_they_have_decided_then_a_replay_asks_nobody() -> None:
    @workflow
    async def refunding(ctx: Workflow) -> list[Any]:
        outcome = await ctx.human.approval("refund", {"amount": 900}, required_roles=["manager"])
        return [outcome.approved, await ctx.step("refund", note, 900)]

    flow = Flow(refunding, answers={f"{KIND}.request": None, f"{KIND}.outcome": {"status": "approved", "by": "ann"}})
    assert flow.attempt() == [True, 900]
    assert flow.names() == [f"$ask {KIND}.request", f"$ask {KIND}.outcome", "refund"]
    flow.answers.clear()
    assert replayed(flow) == [True, 900]


def test_given_a_journal_of_many_steps_when_it_is_replayed_then_nothing_of_it_runs() -> None:
    @workflow
    async def many(ctx: Workflow) -> int:
        total = 0
        for number in range(2_000):
            total += await ctx.step("add", note, number)
        return total

    flow = Flow(many)
    expected = flow.attempt()
    ran.clear()
    assert flow.attempt() == expected == sum(range(2_000))
    assert ran == []
