"""The in-memory world answers as a pod does: one script, played to both, compared by answers and events."""

import asyncio
from typing import Any

from msgspec import Struct

from runtime import (
    CallFailed,
    Client,
    KeyValue,
    Rejected,
    Retry,
    RetryPolicy,
    Turn,
    World,
    entity,
    function,
    keyvalue,
)
from tests.support.system import System, until

FAST = RetryPolicy(max_attempts=3, first_delay_s=0.01, max_delay_s=0.02)


class Add(Struct, frozen=True):
    amount: int


class Added(Struct, frozen=True):
    amount: int


def apply(state: int, event: Added) -> int:
    return state + event.amount


class Unshowable(Exception):
    def __str__(self) -> str:
        raise ValueError("not even this")


ledger = entity("ledger", initial=0, apply=apply, retry=FAST)


@ledger.command
def add(state: int, command: Add, ctx: Turn) -> Added:
    ctx.reply([state + command.amount, ctx.attempt, ctx.seq, ctx.uuid()])
    return Added(command.amount)


@ledger.command
def take(state: int, amount: int) -> Added | None:
    if amount > state:
        raise Rejected("too much", {"left": state})
    return Added(-amount) if amount else None


@ledger.command
def pass_on(state: int, ctx: Turn, to: str, amount: int) -> Added:
    ctx.tell(ledger, to, Add(amount))
    ctx.tell("box", to, "put", {"name": "from", "value": ctx.key})
    return Added(-amount)


@ledger.command
def add_soon(state: int, ctx: Turn, amount: int, after_s: float = 0.05) -> None:
    ctx.schedule("soon", "add", {"amount": amount}, after_s=after_s)


@ledger.command
def never(state: int, ctx: Turn) -> None:
    ctx.cancel("soon")


@ledger.command
def fail(state: int, how: str) -> Added:
    errors: dict[str, Exception] = {
        "key": KeyError("x"),
        "retry": Retry("again"),
        "details": Rejected("no", {"tuple": (1, 2)}),
        "refusal": Rejected("no\ud800\0", object()),
        "text": ValueError("a\ud800\0"),
        "unshowable": Unshowable(),
    }
    if how == "type":
        return 3  # type: ignore[return-value]
    raise errors[how]


@ledger.query
def value(state: int) -> int:
    return state


@ledger.query
def ratio(state: int, by: int) -> float:
    return state / by


box = keyvalue("box", retry=RetryPolicy(max_attempts=1), on_parked="pause")


@box.write
def put(ctx: KeyValue, name: str, value: Any = None) -> list[str]:
    if value == "bad":
        raise ArithmeticError(name)
    ctx.set(name, value)
    return ctx.names()


@box.write
async def put_all(ctx: KeyValue, values: dict[str, int]) -> int:
    for name, one in values.items():
        ctx.set(name, one)
    ctx.tell(ledger, ctx.key, "add", {"amount": len(values)})
    return len(values)


@box.shared
def get(ctx: KeyValue, name: str) -> Any:
    return ctx.get(name)


@box.shared
def meddle(ctx: KeyValue) -> None:
    ctx.set("x", 1)


@function(retry=FAST)
async def work(ctx: Turn, succeed_at: int) -> int:
    if ctx.attempt < succeed_at:
        raise Retry("not yet")
    ctx.tell(ledger, "worked", Add(ctx.attempt))
    return ctx.attempt


Step = tuple[str, str, str, str, Any, str]
"""(ask or query, kind, key, method, arguments, id)."""

SCRIPT: list[Step] = [
    ("ask", "ledger", "a", "add", {"amount": 5}, "1"),
    ("ask", "ledger", "a", "add", {"amount": 5}, "1"),
    ("ask", "ledger", "a", "add", {"amount": 6}, "1"),
    ("ask", "ledger", "a", "take", {"amount": 9}, "2"),
    ("ask", "ledger", "a", "add", {"amount": 9}, "3"),
    ("ask", "ledger", "a", "take", {"amount": 9}, "2"),
    ("ask", "ledger", "a", "take", {"amount": 0}, "4"),
    ("ask", "ledger", "a", "take", {"amount": "1"}, "5"),
    ("ask", "ledger", "a", "take", {"amount": 1}, "5"),
    ("ask", "ledger", "a", "take", {"amount": "1"}, "5"),
    ("ask", "ledger", "a", "take", {"amount": 2}, "5"),
    ("ask", "ledger", "a", "take", None, "6"),
    ("ask", "ledger", "a", "steal", None, "7"),
    ("ask", "ledger", "a", "fail", {"how": "key"}, "8"),
    ("ask", "ledger", "a", "fail", {"how": "key"}, "8"),
    ("ask", "ledger", "a", "fail", {"how": "retry"}, "9"),
    ("ask", "ledger", "a", "fail", {"how": "type"}, "10"),
    ("ask", "ledger", "a", "fail", {"how": "details"}, "11"),
    ("ask", "ledger", "a", "fail", {"how": "text"}, "11b"),
    ("ask", "ledger", "a", "fail", {"how": "refusal"}, "11c"),
    ("ask", "ledger", "a", "fail", {"how": "unshowable"}, "11d"),
    ("ask", "ledger", "a", "value", None, "12"),
    ("ask", "ledger", "a", "take", {"amount": 1}, "12b"),
    ("ask", "ledger", "a", "value", None, "12"),
    ("ask", "ledger", "a", "ratio", {"by": 0}, "12c"),
    ("ask", "ledger", "a", "ratio", {"by": 0}, "12c"),
    ("ask", "ledger", "a", "ratio", {"by": 1}, "12c"),
    ("query", "ledger", "a", "value", None, ""),
    ("query", "ledger", "a", "ratio", {"by": 2}, ""),
    ("query", "ledger", "a", "ratio", {"by": 0}, ""),
    ("query", "ledger", "a", "ratio", {"by": "2"}, ""),
    ("query", "ledger", "a", "add", {"amount": 1}, ""),
    ("query", "ledger", "a", "steal", None, ""),
    ("query", "ledger", "nobody", "value", None, ""),
    ("ask", "ledger", "a", "pass_on", {"to": "é.*> b", "amount": 2}, "13"),
    ("ask", "ledger", "a", "add_soon", {"amount": 100}, "14"),
    ("ask", "ledger", "c", "add_soon", {"amount": 100, "after_s": 3600}, "15"),
    ("ask", "ledger", "c", "never", None, "16"),
    ("ask", "box", "p", "put", {"name": "x", "value": [1, {"y": "\0"}]}, "20"),
    ("ask", "box", "p", "put", {"name": "x", "value": [1, {"y": "\0"}]}, "21"),
    ("ask", "box", "p", "put_all", {"values": {"a": 1, "b": 2}}, "22"),
    ("ask", "box", "p", "put_all", {"values": {"a": 1, "b": 2}}, "22"),
    ("ask", "box", "p", "put_all", {"values": {"a": "1"}}, "23"),
    ("query", "box", "p", "get", {"name": "x"}, ""),
    ("query", "box", "p", "meddle", None, ""),
    ("ask", "box", "q", "put", {"name": "x\0", "value": "bad"}, "24"),
    ("ask", "box", "q", "put", {"name": "x\0", "value": "bad"}, "24"),
    ("query", "box", "q", "get", {"name": "x"}, ""),
    ("ask", "work", "w", "run", {"succeed_at": 3}, "30"),
    ("ask", "work", "w", "run", {"succeed_at": 3}, "30"),
    ("ask", "work", "w", "run", {"succeed_at": 4}, "31"),
    ("ask", "work", "w", "run", {"succeed_at": []}, "32"),
    ("ask", "ledger", "x" * 201, "add", {"amount": 1}, "40"),
    ("ask", "ledger", "a\0", "add", {"amount": 1}, "41"),
    ("ask", "ledger", "a", "add", {"amount": 1}, "two words"),
]

Told = tuple[str, str, int, str, int, Any, str, str | None, str | None]
"""(kind, key, seq, type, version, payload, command id, causation, correlation) of an event."""


def outcome_of(error: Exception) -> Any:
    if isinstance(error, Rejected):
        return "rejected", str(error), error.details
    assert isinstance(error, CallFailed)
    return error.code, str(error), error.path, error.details


def in_a_world() -> tuple[list[Any], set[Told]]:
    world = World(ledger, box, work)
    answers = []
    for what, kind, key, method, args, id in SCRIPT:
        try:
            if what == "ask":
                answers.append(world.ask(kind, key, method, args, id=id))
            else:
                answers.append(world.query(kind, key, method, args))
        except (Rejected, CallFailed) as error:
            answers.append(outcome_of(error))
    world.advance(1)
    world.replay()
    return answers, {
        (
            event.kind,
            event.key,
            event.seq,
            event.type,
            event.version,
            bytes(event.payload).decode(),
            event.command_id,
            event.causation_id,
            event.correlation_id,
        )
        for event in world.log
    }


async def play(client: Client) -> list[Any]:
    answers = []
    for what, kind, key, method, args, id in SCRIPT:
        try:
            if what == "ask":
                answers.append(await client.ask(kind, key, method, args, id=id, timeout_s=60))
            else:
                answers.append(await client.query(kind, key, method, args, timeout_s=60))
        except (Rejected, CallFailed) as error:
            answers.append(outcome_of(error))
    return answers


def in_a_pod(system: System, expected: int) -> tuple[list[Any], set[Told]]:
    columns = "kind, key, seq, type, version, payload::text, command_id, causation_id, correlation_id"

    async def run() -> list[Any]:
        async with system.pod(ledger, box, work), system.client() as client:
            answers = await play(client)
            await until(lambda: system.sql("SELECT count(*) FROM log")[0][0] >= expected)
            return answers

    return asyncio.run(run()), set(system.sql(f"SELECT {columns} FROM log"))


def test_given_one_script_when_played_to_a_world_and_to_a_pod_then_answers_and_logs_are_the_same(
    system: System,
) -> None:
    answers, log = in_a_world()
    pods_answers, pods_log = in_a_pod(system, len(log))
    for step, given, pods in zip(SCRIPT, answers, pods_answers, strict=True):
        assert given == pods, step
    assert log == pods_log
    assert {"troupe.attempt", "troupe.parked", "troupe.paused", "Added", "ValueSet"} == {event[3] for event in log}
