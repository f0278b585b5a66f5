"""What is told of a handler's error: whatever it raises, the log and the wire can carry it."""

from typing import Any

import msgspec
import pytest

from runtime import KeyValue, Rejected, Retry, RetryPolicy, World, keyvalue
from runtime.errors import BadResult
from runtime.failure import MAX_TEXT_LENGTH, failure_of, text_of
from schemas.wire import Failure


class Unshowable(Exception):
    def __str__(self) -> str:
        raise ValueError("not even this")


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (KeyError("x"), Failure("handler_failed", "c-1: KeyError: 'x'")),
        (ValueError(), Failure("handler_failed", "c-1: ValueError")),
        (Retry("busy"), Failure("handler_failed", "c-1: Retry: busy")),
        (BadResult("no event"), Failure("bad_result", "c-1: BadResult: no event")),
        (SystemExit(3), Failure("handler_failed", "c-1: SystemExit: 3")),
        (ValueError("a\ud800b\0"), Failure("handler_failed", "c-1: ValueError: a\\ud800b\\0")),
        (Unshowable(), Failure("handler_failed", "c-1: Unshowable: its message cannot be shown: ValueError")),
        (Rejected("no"), Failure("rejected", "no")),
        (Rejected("no", {"left": (1, 2)}), Failure("rejected", "no", details={"left": [1, 2]})),
        (Rejected("no\ud800"), Failure("rejected", "no\\ud800")),
        (Rejected("no", object()), Failure("rejected", "no (its details, of type object, have no JSON form)")),
        (Rejected("no", "\ud800"), Failure("rejected", "no (its details, of type str, have no JSON form)")),
        (Rejected("no", deep(100_000)), Failure("rejected", "no (its details, of type list, have no JSON form)")),
        (Rejected("no", deep(300)), Failure("rejected", "no (its details nest too deep to be sent)")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_given_any_error_when_told_then_it_can_be_sent_and_kept(error: BaseException, failure: Failure) -> None:
    told = failure_of(error, "c-1")
    assert told == failure
    assert msgspec.json.decode(msgspec.json.encode(told), type=Failure) == told


def test_given_an_endless_message_when_told_then_it_is_cut() -> None:
    assert len(text_of(ValueError("x" * 10_000_000))) == MAX_TEXT_LENGTH
    assert len(failure_of(Rejected("x" * 10_000_000), "c-1").message) == MAX_TEXT_LENGTH


@pytest.mark.parametrize("details", [object(), "\ud800", deep(100_000)], ids=["object", "surrogate", "deep"])
def test_given_a_refusal_with_details_that_cannot_be_sent_when_asked_then_it_is_still_a_refusal(details: Any) -> None:
    box = keyvalue("box", retry=RetryPolicy(max_attempts=1))

    @box.write
    def go(ctx: KeyValue) -> None:
        raise Rejected("no", details)

    world = World(box)
    with pytest.raises(Rejected, match="^no .its details, of type .* have no JSON form"):
        world.ask(box, "k", "go")
    assert world.dead == []
