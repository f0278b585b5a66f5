"""Turns: what a handler asks for is checked when it asks, and is the same on every attempt."""

import math
from typing import Any

import pytest

from runtime import Turn
from runtime.arguments import encode_json
from runtime.sent import MAX_DUE_AT, MAX_TIMER_NAME_LENGTH, CancelTimer, Message, SetTimer
from schemas.address import Address, BadAddress
from tests.unit.small_bank import Deposit, Deposited, account, charge

ALICE = Address("acme", "account", "alice")


def turn(command_id: str = "id-1", address: Address = ALICE, attempt: int = 1) -> Turn:
    return Turn(address, command_id, 3, 1000.0, attempt=attempt)


def test_given_two_attempts_of_one_command_when_they_draw_then_they_draw_the_same() -> None:
    first, second = turn(attempt=1), turn(attempt=2)
    assert [first.uuid(), first.uuid(), first.random.random()] == [second.uuid(), second.uuid(), second.random.random()]


def test_given_other_commands_or_actors_when_they_draw_then_they_draw_something_else() -> None:
    drawn = [turn(), turn("id-2"), turn(address=ALICE._replace(key="bob")), turn(address=ALICE._replace(tenant="x"))]
    assert len({one.uuid() for one in drawn}) == 4
    assert len({turn().uuid(), turn().random.random()}) == 2


def test_given_a_command_when_it_draws_a_uuid_then_it_is_the_one_that_was_drawn_before_a_crash() -> None:
    # Pinned: another value would mean that a command retried across an upgrade draws something else.
    assert turn().uuid() == "29529bb2-f6b4-4b2f-88c8-40de2b2bbb6b"


def test_given_a_message_by_name_when_told_then_it_stays_within_the_tenant() -> None:
    one = turn()
    one.tell("account", "bob", "deposit", {"amount": 1})
    one.tell(account, "bob", Deposit(2))
    one.tell(charge, "c-1", {"amount": 3})
    one.tell("account", "bob", "stop_saving")
    bob = Address("acme", "account", "bob")
    assert one.messages == [
        Message(bob, "deposit", b'{"amount":1}'),
        Message(bob, "deposit", b'{"amount":2}'),
        Message(Address("acme", "charge", "c-1"), "run", b'{"amount":3}'),
        Message(bob, "stop_saving", b"null"),
    ]


def test_given_an_id_and_who_is_to_hear_when_told_then_the_message_has_them() -> None:
    one = turn()
    one.tell("account", "bob", "deposit", {"amount": 1}, id="due-1", then="heard")
    one.cancel_run(account, "bob", "due-1", "late")
    bob = Address("acme", "account", "bob")
    assert one.messages == [
        Message(bob, "deposit", b'{"amount":1}', "due-1", "heard"),
        Message(bob, "$cancel", b'{"run":"due-1","reason":"late"}'),
    ]
    for wrong in ({"id": "no spaces"}, {"id": ""}, {"then": "a.b"}):
        with pytest.raises(ValueError):
            one.tell("account", "bob", "deposit", **wrong)  # type: ignore[arg-type]  # one of these texts each
    assert len(one.messages) == 2


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("account", "", "deposit"), BadAddress),
        (("account", "a\ud800", "deposit"), BadAddress),
        (("account", "x" * 201, "deposit"), BadAddress),
        (("a.b", "bob", "deposit"), BadAddress),
        (("account", "bob", "de.posit"), BadAddress),
        (("account", "bob", Deposit(1)), TypeError),
        ((account, "bob", Deposited(1)), TypeError),
        ((account, "bob", Deposit(1), {"amount": 1}), TypeError),
        (("account", "bob", "deposit", object()), TypeError),
        (("account", "bob", "deposit", "\ud800"), ValueError),
    ],
)
def test_given_a_message_that_cannot_be_sent_when_told_then_it_is_refused_at_once(
    arguments: tuple[Any, ...], error: type[Exception]
) -> None:
    one = turn()
    with pytest.raises(error):
        one.tell(*arguments)
    assert one.messages == []


def test_given_a_timer_when_scheduled_then_it_is_due_after_now_or_at_its_time() -> None:
    one = turn()
    one.schedule("t", "deposit", {"amount": 1}, after_s=60)
    one.schedule("u", "stop_saving", at=5.5)
    one.schedule("v", "stop_saving", after_s=0)
    one.cancel("t")
    assert one.timers == [
        SetTimer("t", 1060.0, "deposit", b'{"amount":1}'),
        SetTimer("u", 5.5, "stop_saving", b"null"),
        SetTimer("v", 1000.0, "stop_saving", b"null"),
        CancelTimer("t"),
    ]


@pytest.mark.parametrize("name", ["", "x" * (MAX_TIMER_NAME_LENGTH + 1), "a\0", "a\ud800"])
def test_given_a_name_that_the_log_cannot_keep_when_scheduled_then_it_is_refused(name: str) -> None:
    one = turn()
    with pytest.raises(ValueError, match="a timer's name is 1 to 200 characters without NUL"):
        one.schedule(name, "deposit", after_s=1)
    with pytest.raises(ValueError, match="a timer's name is 1 to 200 characters without NUL"):
        one.cancel(name)
    assert one.timers == []


@pytest.mark.parametrize(
    "when",
    [
        {},
        {"after_s": 1, "at": 2},
        {"after_s": math.nan},
        {"after_s": math.inf},
        {"after_s": -1000.1},
        {"at": -1},
        {"at": MAX_DUE_AT + 1},
    ],
    ids=str,
)
def test_given_no_time_or_one_outside_the_calendar_when_scheduled_then_it_is_refused(when: dict[str, float]) -> None:
    one = turn()
    with pytest.raises(ValueError, match="either after_s or at|between the years 1970 and 9999"):
        one.schedule("t", "deposit", **when)
    assert one.timers == []


@pytest.mark.parametrize("command", ["de.posit", "", Deposit(1)])
def test_given_no_method_name_when_scheduled_then_it_is_refused(command: Any) -> None:
    with pytest.raises(BadAddress, match="^method"):
        turn().schedule("t", command, after_s=1)


def test_given_a_timer_without_arguments_when_it_fires_then_a_method_without_parameters_takes_it() -> None:
    one = turn()
    one.schedule("t", "stop_saving", after_s=1)
    (timer,) = one.timers
    assert isinstance(timer, SetTimer)
    arguments = account.methods["stop_saving"].arguments
    assert arguments.spread(arguments.decode(timer.body)) == ()


def test_given_replies_when_the_turn_ends_then_the_last_one_counts() -> None:
    one = turn()
    assert one.reply_value is None
    one.reply(1)
    one.reply({"a": 2})
    assert encode_json(one.reply_value) == b'{"a":2}'
    assert (one.key, one.headers) == ("alice", {})
