"""The codes of failures: one table for HTTP, NATS and the CLI."""

import http

import pytest

from runtime import CallFailed, Rejected, Retry, TroupeError
from runtime.errors import BadResult, HandlerError, OwnershipLost
from schemas.errors import CODES, Code


@pytest.mark.parametrize("code", CODES.values(), ids=lambda code: code.name)
def test_given_a_code_when_looked_at_then_it_can_be_sent_over_http_and_read_by_people(code: Code) -> None:
    assert http.HTTPStatus(code.status) >= http.HTTPStatus.BAD_REQUEST
    assert code.name.replace("_", "").isalpha()
    assert code.name.islower()
    assert code.meaning


def test_given_the_codes_when_released_once_then_none_is_renamed_and_no_status_changes() -> None:
    assert {code.name: code.status for code in CODES.values()} == {
        "bad_request": 400,
        "invalid_arguments": 400,
        "bad_address": 400,
        "unauthenticated": 401,
        "forbidden": 403,
        "bad_reply_subject": 403,
        "not_found": 404,
        "unknown_kind": 404,
        "unknown_method": 404,
        "method_not_allowed": 405,
        "expired": 408,
        "rejected": 409,
        "id_reused": 409,
        "cancelled": 409,
        "terminated": 409,
        "deleted": 410,
        "timed_out": 408,
        "not_running": 409,
        "parked": 409,
        "too_large": 413,
        "too_many_requests": 429,
        "handler_failed": 500,
        "bad_result": 500,
        "unreadable_log": 500,
        "call_cycle": 508,
        "unavailable": 503,
        "stream_full": 503,
        "timeout": 504,
    }


def test_given_a_code_when_retrying_has_hope_then_it_says_that_nothing_is_wrong_with_the_request() -> None:
    assert {code.name for code in CODES.values() if code.retryable} == {
        "too_many_requests",
        "unavailable",
        "stream_full",
        "timeout",
    }


def test_given_the_errors_of_handlers_when_sent_then_their_codes_are_in_the_table() -> None:
    assert {HandlerError.code, Retry.code, BadResult.code} <= set(CODES)


def test_given_an_error_without_a_message_when_shown_then_its_docstring_is_the_message() -> None:
    assert str(OwnershipLost()).startswith("Another pod owns this lane now")
    assert str(TroupeError("this")) == "this"


def test_given_a_failed_call_when_shown_then_it_has_code_message_path_and_details() -> None:
    error = CallFailed("invalid_arguments", "Expected `int`", path="$.amount", details={"a": 1})
    assert str(error) == "invalid_arguments: Expected `int`"
    assert (error.code, error.path, error.details) == ("invalid_arguments", "$.amount", {"a": 1})
    assert Rejected("no").details is None
