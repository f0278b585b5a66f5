"""What is told of an error that a handler raised: always something that the log and the wire can carry.

A handler may raise anything: an error whose text fails, holds a lone surrogate or NUL, or is a megabyte long, or a
refusal with details that have no JSON form. None of that may reach a row or a reply, or end the pod that ran it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from runtime.ambient.secrets import guard
from runtime.arguments import UNENCODABLE, encode_json, nests_too_deep
from runtime.errors import BadResult, CallFailed, Cancelled, HandlerError, Rejected
from schemas.wire import Failure

MAX_TEXT_LENGTH = 4000

CYCLE = "call_cycle"

ATTEMPT = "attempt"
"""The name of the system event of an execution's attempt that failed and is not the last one."""


def failed_attempt(attempt: int, error: str) -> dict[str, Any]:
    """What that event says."""
    return {"attempt": attempt, "error": error}


def is_cycle(error: BaseException) -> bool:
    """Whether a call was refused because it would have waited for itself: trying again cannot help."""
    return isinstance(error, CallFailed) and error.code == CYCLE


def text_of(error: BaseException) -> str:
    """The error's type and message in at most MAX_TEXT_LENGTH well-formed characters without NUL."""
    message = _message(error)
    return _kept(f"{type(error).__name__}: {message}" if message else type(error).__name__)


def failure_of(error: BaseException, command: object) -> Failure:
    """What the caller of `command` is told. A refusal speaks for itself; any other error is told with its command."""
    if isinstance(error, Rejected):
        message = _message(error)
        details, problem = _plain(error.details)
        return Failure("rejected", _kept(f"{message} ({problem})" if problem else message), details=details)
    if is_cycle(error):
        return Failure(CYCLE, _kept(_message(error).removeprefix(f"{CYCLE}: ")))
    if isinstance(error, Cancelled):
        return Failure("cancelled", _kept(_message(error)))
    code = error.code if isinstance(error, HandlerError) else "handler_failed"
    return Failure(code, _kept(f"{command}: {text_of(error)}"))


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as raised:  # noqa: BLE001  # whatever the error of a user's own class does when it is shown
        return f"its message cannot be shown: {type(raised).__name__}"


def _kept(text: str) -> str:
    return guard.redacted(text)[:MAX_TEXT_LENGTH].replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()


def _plain(details: Any) -> tuple[Any, str | None]:
    if details is None:
        return None, None
    try:
        encoded = guard.checked(encode_json(details), "its details")
        if nests_too_deep(encoded):
            return None, "its details nest too deep to be sent"
        return msgspec.json.decode(encoded), None
    except BadResult:
        return None, "its details hold a secret"
    except (*UNENCODABLE, RecursionError):
        return None, f"its details, of type {type(details).__name__}, have no JSON form"
