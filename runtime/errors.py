"""Every error of the runtime, split by who reacts to it.

    TroupeError
    ├── Rejected            the caller is told; recorded, never retried
    ├── CallFailed          a client's call ended in a failure that is not a rejection
    ├── Cancelled           an execution ended because it was told to
    ├── StepFailed          a workflow's step failed on every attempt; that is recorded, and ends a run that lets it out
    ├── NotConnected        the broker or the database cannot be reached now
    ├── HandlerError        supervision acts on the message
    │   ├── Retry           a handler asks for another attempt
    │   └── BadResult       the handler returned what it must not: parked at once
    ├── OwnershipLost       this pod stops the activation at once; another one goes on
    ├── UnreadableEvent     the actor is stopped, a person looks; nothing is lost
    │   └── UnreadableSegment   so is one whose archived events are missing or damaged
    ├── Misconfigured       what was configured cannot work; nothing was started
    │   └── ServedElsewhere     another group serves some of the kinds
    └── BadDefinition       a definition in user code cannot work; raised at import

The docstring of an error is its default message.
"""

from __future__ import annotations

from typing import Any, ClassVar


class TroupeError(Exception):
    """Something went wrong in Troupe."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())


class Rejected(TroupeError):
    """The actor refused the command; nothing changed.

    Raise it from a handler with the reason for the caller, and optionally `details`, any JSON value.
    """

    def __init__(self, message: str, details: Any = None) -> None:
        super().__init__(message)
        self.details = details


class CallFailed(TroupeError):
    """The call failed. `code` is one of schemas.errors.CODES; `path` is where in the arguments if they are at fault."""

    def __init__(self, code: str, message: str, *, path: str | None = None, details: Any = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.path = path
        self.details = details


class Cancelled(TroupeError):
    """The execution was cancelled. Its handler is told by asyncio.CancelledError, and may undo what it did."""


class StepFailed(TroupeError):
    """A step of a workflow failed on every attempt that its policy has; that is recorded, and the same in a replay."""


class NotConnected(TroupeError):
    """The broker or the database cannot be reached now; the work resumes by itself when it can."""


class HandlerError(TroupeError):
    """A handler failed; its message is retried by policy, then parked."""

    code: ClassVar[str] = "handler_failed"


class Retry(HandlerError):
    """Raise it from a handler to be tried again, if the policy has attempts left.

    `after_s` is how long to wait before that, in seconds; by default what the policy says.
    """

    def __init__(self, message: str | None = None, *, after_s: float | None = None) -> None:
        super().__init__(message or "The handler asks for another attempt.")
        if after_s is not None and not 0 <= after_s < float("inf"):
            raise ValueError(f"after_s is a number of seconds of at least 0, not {after_s!r}")
        self.after_s = after_s


class BadResult(HandlerError):
    """The handler returned what it must not; the command is parked at once, since trying again cannot help."""

    code: ClassVar[str] = "bad_result"


class OwnershipLost(TroupeError):
    """Another pod owns this lane now; what this pod had in hand is dropped and nothing was written."""


class UnreadableEvent(TroupeError):
    """An event of the log cannot be decoded; the actor is stopped until code that knows the event is deployed."""


class UnreadableSegment(UnreadableEvent):
    """A part of the archive is missing or damaged; whoever needs it is stopped until it is put back."""


class Misconfigured(TroupeError):
    """The configuration cannot work."""


class ServedElsewhere(Misconfigured):
    """Kinds of this group are another group's. `kinds` are their names."""

    def __init__(self, message: str, kinds: frozenset[str]) -> None:
        super().__init__(message)
        self.kinds = kinds


class BadDefinition(TroupeError):
    """A definition cannot work."""
