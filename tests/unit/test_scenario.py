"""given / when / then: the test harness of one entity."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from runtime import CallFailed, Turn, UnreadableEvent, entity
from runtime.arguments import InvalidArguments
from runtime.errors import BadResult
from runtime.kind import StoredEvent
from runtime.sent import CancelTimer, Message, SetTimer
from schemas.address import Address
from tests.unit.small_bank import (
    Account,
    Deposit,
    Deposited,
    Transfer,
    Withdraw,
    Withdrawn,
    account,
    balance,
    can_pay,
    withdraw,
)


def test_given_events_when_a_command_is_accepted_then_its_events_state_and_result_can_be_seen() -> None:
    outcome = account.given(Deposited(2)).when(Deposit(1))
    assert outcome.events == (Deposited(1),)
    assert outcome.state == Account(3)
    assert outcome.result == 3
    assert outcome.rejected is None
    assert outcome.then(Deposited(1)) is outcome


def test_given_events_when_a_command_is_rejected_then_nothing_has_changed() -> None:
    outcome = account.given(Deposited(1)).when(Transfer(2, "bob"))
    assert (outcome.events, outcome.state, outcome.messages, outcome.result) == ((), Account(1), (), None)
    assert outcome.then_rejected("insufficient").then_rejected() is outcome


def test_given_a_command_that_did_much_when_the_next_is_rejected_then_only_the_next_is_seen() -> None:
    busy = account.given(Deposited(2)).when(Transfer(1, "bob")).when("save_up", {"amount": 1}).when(Deposit(1))
    assert busy.result == 3
    refused = busy.when(Withdraw(9)).then_rejected()
    assert (refused.events, refused.result, refused.messages, refused.timers) == ((), None, (), ())
    refused_after_sending = account.given(Deposited(1)).when(Transfer(1, "bob")).when(Transfer(1, "bob"))
    assert refused_after_sending.then_rejected().messages == ()
    assert account.given().when("save_up", {"amount": 1}).when(Withdraw(9)).timers == ()


def test_given_a_rejection_with_details_when_looked_at_then_they_are_there() -> None:
    rejected = account.given().when(Withdraw(1)).rejected
    assert rejected is not None
    assert rejected.details == {"balance": 0}


@given(st.lists(st.integers(0, 2), max_size=3), st.lists(st.integers(0, 3), max_size=3))
def test_given_any_events_when_commands_follow_each_other_then_each_sees_what_the_one_before_left(
    deposits: list[int], withdrawals: list[int]
) -> None:
    scenario, expected = account.given(*map(Deposited, deposits)), sum(deposits)
    for amount in withdrawals:
        scenario = scenario.when(Withdraw(amount))
        if amount > expected:
            scenario.then_rejected()
        else:
            expected -= amount
            scenario.then(Withdrawn(amount))
        assert scenario.state == Account(expected)
        assert scenario.query(balance) == expected


def test_given_a_scenario_when_it_branches_then_neither_branch_sees_the_other() -> None:
    start = account.given(Deposited(2))
    assert start.when(Withdraw(2)).state == Account(0)
    assert start.when(Withdraw(1)).state == Account(1)
    assert start.state == Account(2)


def test_given_a_command_that_sends_and_schedules_when_accepted_then_messages_and_timers_can_be_seen() -> None:
    sent = account.given(Deposited(2)).when(Transfer(1, "bob"))
    assert sent.messages == (Message(Address("default", "account", "bob"), "deposit", b'{"amount":1}'),)
    saved = account.given().when("save_up", {"amount": 1, "times": 2}, now=1000.0)
    assert saved.timers == (SetTimer("save_up", 1060.0, "save_up", b'{"amount":1,"times":1}'),)
    assert saved.when("stop_saving").timers == (CancelTimer("save_up"),)
    assert saved.when("stop_saving").messages == ()


@pytest.mark.parametrize("command", ["withdraw", withdraw])
def test_given_a_method_by_name_or_handler_when_called_with_plain_arguments_then_they_pass_through_json(
    command: Any,
) -> None:
    start = account.given(Deposited(2))
    start.when(command, {"amount": 2}).then(Withdrawn(2))
    with pytest.raises(InvalidArguments) as caught:
        start.when(command, {"amount": "2"})
    assert caught.value.path == "$.amount"


@pytest.mark.parametrize(
    ("command", "args", "code"),
    [
        ("steal", None, "unknown_method"),
        ("balance", None, "unknown_method"),
        ("withdraw", object(), "invalid_arguments"),
        ("withdraw", "\ud800", "invalid_arguments"),
    ],
)
def test_given_a_call_that_cannot_be_made_when_made_then_it_fails_with_the_code_of_production(
    command: str, args: Any, code: str
) -> None:
    with pytest.raises(CallFailed) as caught:
        account.given().when(command, args)
    assert caught.value.code == code


def test_given_a_command_that_no_method_takes_when_given_then_it_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="no method that takes Deposited"):
        account.given().when(Deposited(1))


def test_given_a_handler_that_fails_when_called_then_its_error_is_raised_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError, match="always"):
        account.given().when("explode", {"command": {}})


def test_given_a_handler_that_returns_no_event_when_called_then_the_bad_result_is_raised() -> None:
    bank = entity("bank", initial=Account(), apply=lambda state, event: state, events=[Deposited])
    bank.command(name="go")(lambda state: Withdrawn(1))
    with pytest.raises(BadResult, match="Withdrawn, which is not an event"):
        bank.given().when("go")


@pytest.mark.parametrize("query", ["balance", balance])
def test_given_a_query_by_name_or_handler_when_asked_then_it_answers(query: Any) -> None:
    assert account.given(Deposited(2)).query(query) == 2
    assert account.given(Deposited(2)).when(Deposit(1)).query(query, type=int) == 3


def test_given_a_query_with_arguments_when_asked_then_they_are_checked() -> None:
    assert account.given(Deposited(2)).query(can_pay, {"amount": 2}) is True
    with pytest.raises(InvalidArguments):
        account.given().query(can_pay, {"amount": "2"})
    with pytest.raises(CallFailed, match="kind 'account' has no query 'withdraw'; it has balance, can_pay"):
        account.given().query("withdraw", {"amount": 1})


def test_given_a_context_when_a_handler_asks_then_it_sees_what_the_test_says() -> None:
    def look(state: Account, ctx: Turn) -> None:
        ctx.reply([ctx.key, ctx.now, ctx.principal, ctx.attempt, ctx.seq, ctx.command_id])

    bank = entity("bank", initial=Account(), apply=lambda state, event: state, events=[Deposited])
    bank.command(look)
    seen = bank.given(Deposited(1)).when("look", key="k", now=5.0, principal="ann", attempt=2)
    assert seen.result == ["k", 5.0, "ann", 2, 1, "scenario-1"]
    assert seen.when("look").result[5] == "scenario-2"


# -- given: what a log may hold ---------------------------------------------------------------------------------------


class Box(Struct, frozen=True):
    value: Any = None


class Filled(Struct, frozen=True):
    value: Any


def test_given_an_event_that_json_does_not_carry_as_it_is_when_folded_then_it_is_what_the_log_would_give_back() -> None:
    def keep(state: Box, event: Filled) -> Box:
        return Box(event.value)

    box = entity("box", initial=Box(), apply=keep)
    assert box.given(Filled((1, 2))).state == Box([1, 2])


def test_given_an_old_version_of_an_event_when_folded_then_its_upcast_is_used() -> None:
    def keep(state: Box, event: Filled) -> Box:
        return Box(event.value)

    box = entity("box", initial=Box(), apply=keep)
    box.upcast(Filled, from_version=1)(lambda fields: {"value": fields["content"]})
    old = StoredEvent(1, "Filled", 1, '{"content": 3}')
    assert box.given(old).state == Box(3)
    with pytest.raises(UnreadableEvent, match="event 2, 'Filled' version 9"):
        box.given(old, StoredEvent(1, "Filled", 9, "{}"))


@pytest.mark.parametrize("event", [Account(), "Deposited", None, 3, Deposited("1")])  # type: ignore[arg-type]
def test_given_something_that_is_no_event_when_given_then_it_is_a_type_error(event: Any) -> None:
    with pytest.raises(TypeError, match="cannot be in the log of entity 'account'"):
        account.given(event)


# -- then: what a failing test says -----------------------------------------------------------------------------------


def test_given_other_events_when_asserted_then_the_difference_is_shown_line_by_line() -> None:
    outcome = account.given(Deposited(2)).when(Withdraw(1))
    with pytest.raises(AssertionError) as caught:
        outcome.then(Withdrawn(2))
    assert "- Withdrawn(amount=2)" in str(caught.value)
    assert "+ Withdrawn(amount=1)" in str(caught.value)
    with pytest.raises(AssertionError):
        outcome.then()
    with pytest.raises(AssertionError):
        outcome.then(Withdrawn(1), Withdrawn(1))


def test_given_a_rejection_when_events_are_asserted_then_the_reason_is_shown() -> None:
    for expected in ((), (Withdrawn(1),)):
        with pytest.raises(AssertionError, match="the command was rejected: insufficient funds"):
            account.given().when(Withdraw(1)).then(*expected)


def test_given_no_rejection_or_another_when_one_is_asserted_then_it_is_shown() -> None:
    with pytest.raises(AssertionError, match=r"was not rejected; it gave \[Deposited\(amount=1\)\]"):
        account.given().when(Deposit(1)).then_rejected()
    with pytest.raises(AssertionError, match="rejected for another reason: insufficient funds"):
        account.given().when(Withdraw(1)).then_rejected("limit")
