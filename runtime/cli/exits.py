"""Exit codes, one meaning each, so that scripts can tell what to do next."""

from __future__ import annotations

from enum import IntEnum

from runtime.errors import BadDefinition, CallFailed, Misconfigured, NotConnected, Rejected


class ExitCode(IntEnum):
    """How a command ended."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    REJECTED = 4
    UNAVAILABLE = 5
    INTERRUPTED = 130


_OF_CODE = {
    "bad_request": ExitCode.USAGE,
    "invalid_arguments": ExitCode.USAGE,
    "bad_address": ExitCode.USAGE,
    "method_not_allowed": ExitCode.USAGE,
    "too_large": ExitCode.USAGE,
    "not_found": ExitCode.NOT_FOUND,
    "unknown_kind": ExitCode.NOT_FOUND,
    "unknown_method": ExitCode.NOT_FOUND,
    "rejected": ExitCode.REJECTED,
    "too_many_requests": ExitCode.UNAVAILABLE,
    "unavailable": ExitCode.UNAVAILABLE,
    "stream_full": ExitCode.UNAVAILABLE,
    "timeout": ExitCode.UNAVAILABLE,
}
"""Codes of schemas.errors; those that are missing mean FAILED."""


def exit_code_of(error: BaseException) -> ExitCode:
    """The exit code of a command that ended with this error."""
    if isinstance(error, Rejected):
        return ExitCode.REJECTED
    if isinstance(error, CallFailed):
        return _OF_CODE.get(error.code, ExitCode.FAILED)
    if isinstance(error, NotConnected):
        return ExitCode.UNAVAILABLE
    # The errors of runtime.infra are told by name: importing them would cost every command their weight.
    name = type(error).__name__
    if isinstance(error, (Misconfigured, BadDefinition)) or name in ("IncompleteConfiguration", "PackageMissing"):
        return ExitCode.USAGE
    return ExitCode.FAILED


def name_of(error: BaseException) -> str:
    """The error's code as scripts see it: one of schemas.errors where there is one."""
    if isinstance(error, CallFailed):
        return error.code
    if isinstance(error, Rejected):
        return "rejected"
    return {ExitCode.USAGE: "bad_request", ExitCode.UNAVAILABLE: "unavailable"}.get(exit_code_of(error), "failed")
