"""The in-memory world: several actors, time, failures, repeats."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from runtime import (
    BadDefinition,
    CallFailed,
    KeyValue,
    Rejected,
    Retry,
    RetryPolicy,
    TroupeError,
    Turn,
    Workflow,
    World,
    entity,
    function,
    keyvalue,
    workflow,
)
from runtime.clock import ManualClock
from schemas.control import Ended
from schemas.errors import CODES
from tests.unit.small_bank import (
    Account,
    Deposit,
    Deposited,
    Transfer,
    Withdraw,
    Withdrawn,
    account,
    balance,
    cart,
    charge,
)


@pytest.fixture
def world() -> World:
    return World(account, cart, charge)


def failing(code: str) -> Any:
    return pytest.raises(CallFailed, match=f"^{code}: ")


# -- calls -------------------------------------------------------------------------------------------------------------


def test_given_actors_when_asked_then_results_states_and_events_can_be_seen(world: World) -> None:
    assert world.ask(account, "alice", Deposit(3)) == 3
    assert world.ask("account", "alice", "withdraw", {"amount": 1}) is None
    assert world.state(account, "alice") == Account(2)
    assert world.query(account, "alice", balance) == world.query("account", "alice", "balance") == 2
    assert world.query(account, "alice", "can_pay", {"amount": 3}) is False
    assert world.events(account, "alice") == [Deposited(3), Withdrawn(1)]
    assert world.ask(cart, "c", "add", {"item": "tea", "quantity": 2}, type=int) == 2
    assert world.state(cart, "c") == {"tea": 2}
    assert world.query(cart, "c", "items") == ["tea"]
    assert [event.name for event in world.events(cart, "c")] == ["tea"]
    world.replay()


def test_given_an_actor_that_was_never_spoken_to_when_looked_at_then_it_is_in_its_initial_state(world: World) -> None:
    assert world.state(account, "nobody") == Account()
    assert world.state(cart, "nobody") == {}
    assert world.events(account, "nobody") == []
    assert world.query(account, "nobody", balance) == 0


def test_given_two_tenants_when_they_use_one_key_then_they_are_two_actors(world: World) -> None:
    world.ask(account, "alice", Deposit(1), tenant="acme")
    assert world.state(account, "alice", tenant="acme") == Account(1)
    assert world.state(account, "alice") == Account()


def test_given_a_refusal_when_asked_then_it_is_raised_with_its_details_and_recorded(world: World) -> None:
    for _ in range(2):
        with pytest.raises(Rejected, match="insufficient funds") as caught:
            world.ask(account, "alice", Withdraw(1), id="w-1")
        assert caught.value.details == {"balance": 0}
        world.ask(account, "alice", Deposit(5), id="d-1")
    assert world.log[0].type == "Deposited"
    assert len(world.log) == 1


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (("bank", "a", "deposit", {"amount": 1}), "unknown_kind"),
        ((account, "a", "steal"), "unknown_method"),
        ((account, "a", "deposit"), "invalid_arguments"),
        ((account, "a", "deposit", {"amount": None}), "invalid_arguments"),
        ((account, "a", "deposit", object()), "invalid_arguments"),
        ((account, "", Deposit(1)), "bad_address"),
        ((account, "x" * 201, Deposit(1)), "bad_address"),
        ((account, "a\ud800", Deposit(1)), "bad_address"),
        (("a.b", "a", "deposit"), "bad_address"),
    ],
)
def test_given_a_call_that_cannot_work_when_asked_then_the_code_is_that_of_production(
    world: World, call: tuple[Any, ...], code: str
) -> None:
    with failing(code):
        world.ask(*call)
    assert code in CODES
    assert (world.log, world.dead) == ([], [])


def test_given_mistyped_arguments_when_asked_then_the_path_is_in_the_error(world: World) -> None:
    with pytest.raises(CallFailed) as caught:
        world.ask(account, "alice", "deposit", {"amount": []})
    assert caught.value.path == "$.amount"


@pytest.mark.parametrize("id", ["", "two words", "é", "x" * 201, "a\n"])
def test_given_an_id_that_no_header_carries_when_asked_then_it_is_a_bad_request(world: World, id: str) -> None:
    with failing("bad_request"):
        world.ask(account, "alice", Deposit(1), id=id)


def test_given_a_bad_tenant_when_asked_then_it_is_a_bad_address(world: World) -> None:
    with failing("bad_address"):
        world.ask(account, "alice", Deposit(1), tenant="a.b")


def test_given_a_command_when_queried_or_a_query_when_asked_then_only_the_query_is_answered(world: World) -> None:
    with failing("unknown_method"):
        world.query(account, "alice", "deposit", {"amount": 1})
    assert world.ask(account, "alice", "balance") == 0
    assert world.log == []


def test_given_a_principal_when_a_handler_looks_then_it_is_there_and_in_the_log(world: World) -> None:
    whoami = entity("whoami", initial=Account(), apply=lambda state, event: state, events=[Deposited])

    def look(state: Account, ctx: Turn) -> Deposited:
        ctx.reply(ctx.principal)
        return Deposited(1)

    whoami.command(look)
    world = World(whoami)
    assert world.ask(whoami, "k", "look", principal="ann") == "ann"
    assert world.log[0].principal == "ann"


def test_given_two_kinds_of_one_name_when_a_world_is_made_then_it_is_refused() -> None:
    with pytest.raises(BadDefinition, match="one name"):
        World(cart, keyvalue("cart"))


# -- repeats -----------------------------------------------------------------------------------------------------------


def test_given_an_id_that_was_used_when_repeated_then_the_recorded_result_comes_and_nothing_happens(
    world: World,
) -> None:
    assert world.ask(account, "alice", Deposit(3), id="d-1") == 3
    world.ask(account, "alice", Deposit(1))
    assert world.ask(account, "alice", Deposit(3), id="d-1") == 3
    assert world.state(account, "alice") == Account(4)


@pytest.mark.parametrize("other", [Deposit(4), Withdraw(3)])
def test_given_an_id_that_was_used_when_used_for_something_else_then_it_is_refused(world: World, other: Any) -> None:
    world.ask(account, "alice", Deposit(3), id="d-1")
    with failing("id_reused"):
        world.ask(account, "alice", other, id="d-1")
    assert world.state(account, "alice") == Account(3)


def test_given_one_id_when_used_for_two_actors_then_each_has_its_own(world: World) -> None:
    assert world.ask(account, "alice", Deposit(1), id="d-1") == 1
    assert world.ask(account, "bob", Deposit(1), id="d-1") == 1


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["1", "2", "3"]), st.integers(0, 2)), max_size=8))
def test_given_any_repeats_when_asked_then_each_id_counts_once_per_actor(calls: list[tuple[str, str, int]]) -> None:
    world = World(account)
    first: dict[tuple[str, str], int] = {}
    for key, id, amount in calls:
        if first.setdefault((key, id), amount) == amount:
            world.ask(account, key, Deposit(amount), id=id)
        else:
            with failing("id_reused"):
                world.ask(account, key, Deposit(amount), id=id)
    for key in "ab":
        assert world.state(account, key) == Account(sum(amount for (k, _), amount in first.items() if k == key))
    world.replay()


def test_given_one_seed_when_a_world_runs_twice_then_all_ids_are_the_same() -> None:
    def ids(seed: int) -> list[str]:
        world = World(account, seed=seed)
        world.tell(account, "alice", Deposit(3))
        world.tell(account, "alice", Transfer(1, "bob"))
        return [event.command_id for event in world.log]

    assert ids(1) == ids(1)
    assert ids(1) != ids(2)


# -- messages ----------------------------------------------------------------------------------------------------------


def test_given_a_message_to_another_actor_when_the_turn_commits_then_it_arrives_once(world: World) -> None:
    world.tell(account, "alice", Deposit(3))
    world.ask(account, "alice", Transfer(2, "bob"), id="t-1")
    world.ask(account, "alice", Transfer(2, "bob"), id="t-1")
    assert (world.state(account, "alice"), world.state(account, "bob")) == (Account(1), Account(2))
    transferred, arrived = world.log[1], world.log[2]
    assert (arrived.causation_id, arrived.correlation_id) == (transferred.command_id, transferred.command_id)
    assert (arrived.key, arrived.seq, arrived.position) == ("bob", 1, 3)


def test_given_a_message_with_then_when_the_other_one_is_done_or_refuses_then_the_teller_hears_it_once() -> None:
    teller = keyvalue("teller")

    @teller.write
    def send(ctx: KeyValue, amount: int) -> None:
        ctx.tell(account, "alice", "withdraw", {"amount": amount}, id=f"w-{amount}", then="heard")

    @teller.write
    def heard(ctx: KeyValue, ended: Ended) -> None:
        ctx.set("heard", [*ctx.get("heard", []), (ended.id, ended.error.code if ended.error else None)])

    world = World(account, teller)
    world.tell(account, "alice", Deposit(3))
    for amount in (2, 2, 9):
        world.tell(teller, "t", "send", {"amount": amount})
    assert world.state(account, "alice") == Account(1)
    assert world.state(teller, "t") == {"heard": [["w-2", None], ["w-9", "rejected"]]}


def test_given_a_message_within_a_tenant_when_delivered_then_it_stays_there(world: World) -> None:
    world.tell(account, "alice", Deposit(3), tenant="acme")
    world.tell(account, "alice", Transfer(2, "bob"), tenant="acme")
    assert world.state(account, "bob", tenant="acme") == Account(2)
    assert world.state(account, "bob") == Account()


def test_given_a_refused_command_when_it_wanted_to_send_then_nothing_is_sent(world: World) -> None:
    with pytest.raises(Rejected):
        world.ask(account, "alice", Transfer(2, "bob"))
    assert world.log == []


def test_given_several_messages_when_delivered_then_their_order_is_kept() -> None:
    listener = keyvalue("listener")

    @listener.write
    def hear(ctx: KeyValue, text: str) -> None:
        ctx.set("heard", [*ctx.get("heard", []), text])

    speaker = keyvalue("speaker")

    @speaker.write
    def speak(ctx: KeyValue, texts: list[str]) -> None:
        for text in texts:
            ctx.tell(listener, "l", "hear", {"text": text})

    world = World(listener, speaker)
    world.tell(speaker, "s", "speak", {"texts": ["a", "b", "c"]})
    assert world.state(listener, "l") == {"heard": ["a", "b", "c"]}


def test_given_a_chain_of_messages_when_delivered_then_all_share_the_first_ones_correlation() -> None:
    chain = keyvalue("chain")

    @chain.write
    def link(ctx: KeyValue, left: int) -> None:
        ctx.set("left", left)
        if left:
            ctx.tell(chain, ctx.key, "link", {"left": left - 1})

    world = World(chain)
    world.tell(chain, "k", "link", {"left": 3}, id="first")
    assert [event.correlation_id for event in world.log] == [None, "first", "first", "first"]
    ids = [event.command_id for event in world.log]
    assert [event.causation_id for event in world.log] == [None, *ids[:-1]]


def test_given_a_message_to_a_kind_nobody_has_when_sent_then_it_waits(world: World) -> None:
    lonely = World(cart)
    lonely.tell(cart, "c", "add", {"item": "tea"})
    lonely.ask(cart, "c", "check_out", {"payer": "alice"})
    assert [(one.address.kind, one.method, one.body) for one in lonely.waiting] == [
        ("account", "withdraw", b'{"amount":1}')
    ]


def test_given_actors_that_tell_each_other_things_for_ever_when_told_then_the_world_stops_them() -> None:
    echo = keyvalue("echo")

    @echo.write
    def say(ctx: KeyValue) -> None:
        ctx.tell(echo, ctx.key, "say")

    world = World(echo)
    with pytest.raises(TroupeError, match="turns followed from one call, the last on default/echo/k: is it a loop"):
        world.tell(echo, "k", "say")


# -- time --------------------------------------------------------------------------------------------------------------


def test_given_timers_when_time_advances_then_those_that_are_due_fire_in_order_each_at_its_time(world: World) -> None:
    world.tell(account, "alice", "save_up", {"amount": 1, "times": 3})
    assert world.state(account, "alice") == Account(1)
    world.advance(59.5)
    assert world.state(account, "alice") == Account(1)
    world.advance(0.5)
    assert world.state(account, "alice") == Account(2)
    world.advance(600)
    assert world.state(account, "alice") == Account(3)
    assert [event.at[14:19] for event in world.log] == ["13:20", "14:20", "15:20"]


def test_given_a_timer_when_cancelled_then_it_does_not_fire(world: World) -> None:
    world.tell(account, "alice", "save_up", {"amount": 1, "times": 3})
    world.tell(account, "alice", "stop_saving")
    world.advance(600)
    assert world.state(account, "alice") == Account(1)


def test_given_a_timer_when_set_again_under_its_name_then_only_the_last_fires(world: World) -> None:
    world.tell(account, "alice", "save_up", {"amount": 1, "times": 2})
    world.advance(30)
    world.tell(account, "alice", "save_up", {"amount": 2, "times": 2})
    world.advance(30)
    assert world.state(account, "alice") == Account(3)
    world.advance(30)
    assert world.state(account, "alice") == Account(5)
    world.advance(600)
    assert world.state(account, "alice") == Account(5)


def test_given_timers_of_several_actors_when_time_jumps_then_they_fire_by_due_time_and_not_by_actor() -> None:
    clock = keyvalue("clock")

    @clock.write
    def wind(ctx: KeyValue, times: list[float]) -> None:
        for number, time in enumerate(times):
            ctx.schedule(str(number), "ring", {"time": time}, after_s=time)

    @clock.write
    def ring(ctx: KeyValue, time: float) -> None:
        ctx.tell("bell", "all", "note", {"text": f"{ctx.key}{time:g}"})

    bell = keyvalue("bell")

    @bell.write
    def note(ctx: KeyValue, text: str) -> None:
        ctx.set("notes", [*ctx.get("notes", []), text])

    world = World(clock, bell)
    world.tell(clock, "a", "wind", {"times": [3, 1]})
    world.tell(clock, "b", "wind", {"times": [2, 4]})
    world.advance(3.5)
    assert world.state(bell, "all") == {"notes": ["a1", "b2", "a3"]}


def test_given_a_clock_of_the_tests_own_when_it_is_moved_then_due_timers_fire_at_the_next_call() -> None:
    clock = ManualClock(at=1000.0)
    world = World(account, clock=clock)
    world.tell(account, "alice", "save_up", {"amount": 1, "times": 2})
    clock.advance(61)
    world.tell(account, "bob", Deposit(1))
    assert world.state(account, "alice") == Account(2)


# -- failure -----------------------------------------------------------------------------------------------------------


def test_given_a_failing_handler_when_tried_again_then_it_waits_as_its_policy_says(world: World) -> None:
    started = world.clock.now()
    assert world.ask(charge, "c", {"amount": 5, "succeed_at": 3}) == {"charged": 5, "attempt": 3}
    assert world.clock.now() - started == 1.0 + 2.0
    assert world.dead == []


def test_given_a_handler_that_never_succeeds_when_asked_then_it_is_parked_and_the_caller_told(world: World) -> None:
    with failing("handler_failed") as caught:
        world.ask(account, "alice", "explode", {"command": {}}, id="e-1")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    (letter,) = world.dead
    assert (letter.command.id, letter.command.method, letter.code, letter.attempts) == (
        "e-1",
        "explode",
        "handler_failed",
        3,
    )
    assert "ZeroDivisionError: always" in letter.error
    assert [event.type for event in world.log] == ["troupe.parked"]
    assert world.events(account, "alice") == []
    with failing("handler_failed"):
        world.ask(account, "alice", "explode", {"command": {}}, id="e-1")
    assert len(world.dead) == 1
    assert world.ask(account, "alice", Deposit(1)) == 1
    world.replay()


def fails_with(error: Exception, **policy: Any) -> World:
    box = keyvalue("box", retry=RetryPolicy(**policy))

    @box.write
    def go(ctx: KeyValue) -> None:
        ctx.set("x", 1)
        ctx.tell("box", "other", "go")
        raise error

    return World(box)


@pytest.mark.parametrize(
    ("error", "policy", "attempts"),
    [
        (Retry("again"), {"max_attempts": 4}, 4),
        (KeyError("x"), {"max_attempts": 1}, 1),
        (KeyError("x"), {"never": (LookupError,)}, 1),
        (OSError("x"), {"never": (LookupError,), "max_attempts": 2}, 2),
        (KeyError("x"), {"never": ("LookupError",)}, 1),
        (OSError("x"), {"first_delay_s": 1.0, "factor": 1.0, "jitter": 0, "max_attempts": 9, "max_elapsed_s": 3.5}, 4),
    ],
    ids=str,
)
def test_given_a_policy_when_a_handler_fails_then_it_is_tried_so_often_and_leaves_nothing_behind(
    error: Exception, policy: dict[str, Any], attempts: int
) -> None:
    world = fails_with(error, **policy)
    with failing("handler_failed"):
        world.ask("box", "k", "go")
    assert [letter.attempts for letter in world.dead] == [attempts]
    assert (world.state("box", "k"), world.waiting) == ({}, [])


def test_given_a_handler_that_returns_the_wrong_type_when_asked_then_it_is_parked_at_once() -> None:
    @function(name="count")
    async def count() -> int:
        return "many"  # type: ignore[return-value]

    world = World(count)
    with failing("bad_result"):
        world.ask(count, "k", "run")
    assert [(letter.code, letter.attempts) for letter in world.dead] == [("bad_result", 1)]


def test_given_a_command_told_when_it_is_parked_then_the_teller_hears_nothing_and_the_letter_is_there(
    world: World,
) -> None:
    id = world.tell(account, "alice", "explode", {"command": {}})
    assert [letter.command.id for letter in world.dead] == [id]


def test_given_a_kind_that_pauses_when_a_command_was_parked_then_the_next_wait_until_it_is_resumed() -> None:
    box = keyvalue("box", retry=RetryPolicy(max_attempts=1), on_parked="pause")

    @box.write
    def put(ctx: KeyValue, value: int) -> None:
        if value < 0:
            raise ArithmeticError("negative")
        ctx.set("values", [*ctx.get("values", []), value])

    @box.shared
    def values(ctx: KeyValue) -> list[int]:
        return ctx.get("values", [], type=list[int])

    world = World(box)
    world.tell(box, "k", "put", {"value": 1}, id="p-1")
    world.tell(box, "k", "put", {"value": -1})
    with failing("timeout"):
        world.ask(box, "k", "put", {"value": 2})
    world.tell(box, "k", "put", {"value": 3})
    assert world.ask(box, "k", "put", {"value": 1}, id="p-1") is None
    assert world.query(box, "k", "values") == world.ask(box, "k", "values") == [1]
    assert [command.body for command in world.waiting] == [b'{"value":2}', b'{"value":3}']
    world.tell(box, "other", "put", {"value": 4})
    assert world.state(box, "other") == {"values": [4]}
    world.resume(box, "k")
    assert world.state(box, "k") == {"values": [1, 2, 3]}
    assert world.waiting == []
    assert [event.type for event in world.log if event.key == "k"] == [
        "ValueSet",
        "troupe.parked",
        "troupe.paused",
        "troupe.resumed",
        "ValueSet",
        "ValueSet",
    ]
    world.replay()


def test_given_a_query_that_fails_when_asked_then_it_is_told_and_nothing_is_parked() -> None:
    box = keyvalue("box")
    box.shared(name="broken")(lambda ctx: 1 // 0)
    world = World(box)
    with failing("handler_failed"):
        world.query(box, "k", "broken")
    assert (world.dead, world.log) == ([], [])


# -- executions --------------------------------------------------------------------------------------------------------


def test_given_an_async_handler_when_it_ends_then_its_changes_and_messages_count(world: World) -> None:
    world.tell(account, "alice", Deposit(5))
    world.tell(cart, "c", "add", {"item": "tea", "quantity": 2})
    assert world.ask(cart, "c", "check_out", {"payer": "alice"}) == 2
    assert world.state(cart, "c") == {}
    assert world.state(account, "alice") == Account(3)
    assert world.ask(cart, "c", "count") == 0
    world.replay()


async def test_body(world: World) -> tuple[Any, Any]:
    task = asyncio.ensure_future(asyncio.sleep(0, "the test's own loop goes on"))
    return world.ask(charge, "c", {"amount": 1, "succeed_at": 2}), await task


test_body.__test__ = False  # type: ignore[attr-defined]  # run by the test below, on a loop


def test_given_a_test_on_a_loop_of_its_own_when_it_asks_then_async_handlers_run_all_the_same(world: World) -> None:
    assert asyncio.run(test_body(world)) == ({"charged": 1, "attempt": 2}, "the test's own loop goes on")


def test_given_a_plain_function_when_asked_then_it_runs_and_knows_its_repeats() -> None:
    calls = []

    @function
    def once(value: int) -> int:
        calls.append(value)
        return value

    world = World(once)
    assert [world.ask(once, "k", {"value": 1}, id="o-1") for _ in range(2)] == [1, 1]
    assert calls == [1]


# -- replay ------------------------------------------------------------------------------------------------------------


class Bag(Struct, frozen=True):
    values: list[int] = []  # frozen only outside: the careless can still change it


class Put(Struct, frozen=True):
    value: int


def test_given_an_apply_that_changes_the_state_it_was_given_when_replayed_then_the_world_notices() -> None:
    def careless(state: Bag, event: Put) -> Bag:
        state.values.append(event.value)
        return state

    bag = entity("bag", initial=Bag(), apply=careless)

    @bag.command
    def put(state: Bag, value: int) -> Put:
        if value == 0:
            state.values.append(-1)  # a handler that changes what it was given
            raise Rejected("zero")
        return Put(value)

    world = World(bag)
    world.tell(bag, "one", "put", {"value": 1})
    world.replay()
    world.tell(bag, "one", "put", {"value": 0})
    with pytest.raises(AssertionError, match=r"default/bag/one is .*, but its log folds to"):
        world.replay()


def test_given_a_state_that_json_does_not_carry_when_replayed_then_the_world_notices() -> None:
    class Loose(Struct, frozen=True):
        value: Any = None

    def keep(state: Loose, event: Put) -> Loose:
        return Loose((event.value,))

    loose = entity("loose", initial=Loose(), apply=keep)
    loose.command(name="put")(lambda state: Put(1))
    world = World(loose)
    world.tell(loose, "k", "put")
    with pytest.raises(AssertionError, match="folds to"):
        world.replay()


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 3), st.sampled_from("ab")), max_size=6))
def test_given_any_transfers_when_all_have_arrived_then_no_money_was_made_or_lost(
    transfers: list[tuple[str, int, str]],
) -> None:
    world = World(account)
    for key in "ab":
        world.tell(account, key, Deposit(3))
    for source, amount, target in transfers:
        world.tell(account, source, Transfer(amount, target))
    assert sum(world.state(account, key).balance for key in "ab") == 6
    assert world.dead == []
    world.replay()


def test_given_who_asks_and_headers_then_all_that_follows_has_them_and_a_world_with_nobody_has_none() -> None:
    seen: list[Any] = []

    def note(ctx: Turn, label: str) -> None:
        seen.append((label, ctx.principal, ctx.roles, dict(ctx.headers)))

    post = keyvalue("post")

    @post.write
    def arrive(ctx: KeyValue, label: str) -> None:
        note(ctx.turn, label)

    @post.write
    def pass_on(ctx: KeyValue) -> None:
        ctx.tell(post, "told", "arrive", {"label": "told"})
        ctx.turn.schedule("soon", "arrive", {"label": "timer"}, after_s=1)

    @workflow
    async def errand(ctx: Workflow) -> None:
        note(ctx.turn, "run")
        await ctx.ask(post, "asked", "arrive", {"label": "asked"})
        await ctx.ask(post, "asked", "pass_on")

    world = World(post, errand)
    world.ask(errand, "e", "run", principal="ann", roles=("manager",), headers={"ctx-tier": "gold", "Other": "x"})
    world.advance(1)
    expected = ("ann", ("manager",), {"ctx-tier": "gold"})
    assert [one[0] for one in seen] == ["run", "asked", "told", "timer"]
    assert all(one[1:] == expected for one in seen)
    seen.clear()
    world.ask(errand, "nobody", "run")
    assert {one[1:3] for one in seen} == {(None, ())}
