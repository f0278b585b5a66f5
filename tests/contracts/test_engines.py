"""Tests of users' code, each of them on both engines: the World in memory, and the one on a pod, NATS and Postgres."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from examples.checkout import Order, Payment, Receipt, Stock, checkout, status, stock
from examples.subscription import MONTH_S, MONTHS_A_JOURNAL, Account, subscription
from runtime import (
    CallFailed,
    KeyValue,
    Rejected,
    RetryPolicy,
    TroupeError,
    Turn,
    Workflow,
    function,
    keyvalue,
    workflow,
)
from runtime.stubs import Steps
from runtime.testing import World
from runtime.testing.engine import NATS_URL, POSTGRES_URL, VARIABLE, Engine
from runtime.testing.real import close_open
from tests.support.servers import Servers

pytest_plugins = ["pytester"]

MONTHS = 3 * MONTHS_A_JOURNAL + 1
"""Of a subscription, which continues as new each year."""

tries: list[int] = []


@function(retry=RetryPolicy(max_attempts=3, first_delay_s=60.0, jitter=0.0))
async def stubborn(ctx: Turn, works_at: int) -> int:
    """Works at an attempt."""
    tries.append(ctx.attempt)
    if ctx.attempt < works_at:
        raise ArithmeticError("not yet")
    return ctx.attempt


@workflow("ride")
async def ride(ctx: Workflow, to: str) -> str:
    """Waits for what comes of its token."""
    return f"to {to} by {await ctx.external('taxi', call_taxi, to, returns=str, timeout_s=60)}"


async def call_taxi(to: str, token: str) -> None:
    """Is a stub's."""
    raise AssertionError(f"nobody calls a taxi to {to} here")


desk = keyvalue("desk", on_parked="pause", retry=RetryPolicy(max_attempts=1))


@desk.write
def ring(ctx: KeyValue, in_s: float) -> None:
    """Rings after a while."""
    ctx.schedule("bell", "rung", after_s=in_s)


@desk.write
def rung(ctx: KeyValue) -> int:
    """Counts, and says who let it ring."""
    ctx.set("times", ctx.get("times", 0) + 1)
    ctx.set("by", [ctx.turn.principal, *ctx.turn.roles])
    return int(ctx.get("times"))


@desk.write
def measure(ctx: KeyValue, text: str) -> int:
    """Is given a text that no message holds: it is still on its way when all else is still."""
    return len(text)


@desk.write
def break_it(ctx: KeyValue) -> None:
    """Never works."""
    raise ArithmeticError("broken")


@pytest.fixture
def at_servers(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Worlds on the real engine use the servers of this run, and end with the test."""
    monkeypatch.setenv(NATS_URL, servers.nats_url)
    monkeypatch.setenv(POSTGRES_URL, servers.postgres_url)
    yield
    close_open()


@pytest.fixture(params=["memory", "real"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """One test each."""
    if request.param == "real":
        request.getfixturevalue("at_servers")
    found: Engine = request.param
    return found


def test_given_a_checkout_when_time_skips_then_both_engines_say_the_same(engine: Engine) -> None:
    world = World(checkout, stock, engine=engine)
    world.signal(checkout, "o-1", "start-1", "packed", True)
    receipt = world.ask(checkout, "o-1", Order("book", 12, "4242"), id="start-1", type=Receipt)
    assert receipt == Receipt("o-1", Payment("4242", 12, receipt.payment.key), "parcel-o-1-book")
    began = world.clock.now()
    with pytest.raises(Rejected, match="nobody packed it"):
        world.ask(checkout, "o-2", Order("book", 12, "4242"))
    assert world.clock.now() - began == 3 * 86_400
    assert world.query(checkout, "o-1", status) == "completed"
    assert world.state(stock, "book") == Stock(1, frozenset({"o-1"}))
    assert {event.key for event in world.log} == {"book", "o-1", "o-2"}
    world.replay()
    world.close()


def test_given_stubs_tokens_and_retries_then_both_engines_say_the_same(engine: Engine) -> None:
    tries.clear()
    stubs: Steps = {"taxi": lambda to, token: world.complete(token, "cab 7")}
    world: World = World(ride, stubborn, engine=engine, steps=stubs)
    assert world.ask(ride, "r", "run", {"to": "Elm 3"}) == "to Elm 3 by cab 7"
    began = world.clock.now()
    assert world.ask(stubborn, "f", "run", {"works_at": 3}) == 3
    assert tries == [1, 2, 3]
    assert world.clock.now() - began >= 60
    with pytest.raises(CallFailed, match="not yet"):
        world.ask(stubborn, "f", "run", {"works_at": 9}, id="dead")
    assert [(letter.command.id, letter.code, letter.attempts) for letter in world.dead] == [
        ("dead", "handler_failed", 3)
    ]
    world.close()


def test_given_timers_pauses_and_deletions_then_both_engines_say_the_same(engine: Engine) -> None:
    world = World(desk, engine=engine)
    world.ask(desk, "d", "ring", {"in_s": 30 * 86_400}, principal="ann", roles=("clerk",))
    world.advance(30 * 86_400 - 1)
    assert world.state(desk, "d") == {}
    world.advance(1)
    assert world.state(desk, "d") == {"times": 1, "by": ["ann", "clerk"]}
    assert world.ask(desk, "d", "measure", {"text": "x" * 3_000_000}) == 3_000_000
    with pytest.raises(CallFailed, match="broken"):
        world.ask(desk, "d", "break_it")
    with pytest.raises(CallFailed, match="^timeout.* is paused"):
        world.ask(desk, "d", "rung", id="waits")
    world.resume(desk, "d")
    assert world.ask(desk, "d", "rung", id="waits") == 2
    assert world.delete(desk, "d") >= 6
    assert world.state(desk, "d") == {}
    with pytest.raises(CallFailed, match="^deleted"):
        world.ask(desk, "d", "rung", id="waits")
    world.close()


def test_given_a_subscription_when_it_is_cancelled_after_years_then_it_has_paid_each_month(engine: Engine) -> None:
    charged: list[float] = []

    def charge(customer: str, amount: int) -> int:
        charged.append(world.clock.now())
        if len(charged) == MONTHS:
            world.signal(subscription, "ann", "ann-1", "cancel")
        return amount

    world: World = World(subscription, engine=engine, steps={"charge": charge}, always_replay=False)
    assert world.ask(subscription, "ann", "run", {"plan": "pro"}, id="ann-1") == 20 * MONTHS
    assert world.query(subscription, "ann", "account", type=Account) == Account(MONTHS, 20 * MONTHS, "pro")
    assert [round(at - charged[0]) for at in charged] == [month * MONTH_S for month in range(MONTHS)]
    world.close()


@pytest.mark.usefixtures("at_servers")
def test_given_what_only_one_engine_knows_then_the_other_says_so() -> None:
    first = World(ride, engine="real", steps={"taxi": None})
    with pytest.raises(TroupeError, match=r"World.waiting is not known on the real engine"):
        _ = first.waiting
    second = World(desk, engine="real")
    with pytest.raises(TroupeError, match="one World lives at a time"):
        first.ask(ride, "r", "run", {"to": "Elm 3"})
    second.close()


def test_given_the_option_of_pytest_then_worlds_are_on_the_engine_that_it_names(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "")  # so that it is as before when this test ends
    pytester.makepyfile("""
        from runtime.testing import World
        from runtime.testing.engine import chosen

        def test_one():
            assert chosen() == "real"

        def test_one_that_says_it_itself():
            assert World(engine="memory").log == []
    """)
    pytester.runpytest_inprocess("-p", "runtime.testing.plugin", "--engine=real").assert_outcomes(passed=2)
    monkeypatch.setenv(VARIABLE, "imaginary")
    with pytest.raises(ValueError, match="it must be memory or real"):
        World(desk)
