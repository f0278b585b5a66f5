"""The headers of a command. All are optional: a command with none is processed, and nobody hears of it.

    Troupe-Id            the command's id: a repeat with the same id is answered, not processed again
    Troupe-Reply         the subject to reply to, under `_INBOX.<tenant>.`
    Troupe-Reply-Mode    `batch`: replies may come as a list, many in one message (docs/protocol.md)
    Troupe-Deadline      Unix milliseconds after which the command is no longer wanted
    Troupe-Start-At      Unix milliseconds before which the command has no turn
    Troupe-Priority      -100 to 100, 0 by default: of runs that wait for a permit, higher ones go first
    Troupe-Session       the session whose stream shows what came of it
    Troupe-Correlation   one id for everything that follows from one request
    Troupe-Causation     the id of the command or event that caused this one
    Troupe-Chain         the calls that wait for this one, see schemas/chain.py
    Troupe-Answer        the execution that asks, `<kind>.<key>.<its command id>`: the answer goes to it as a command
    Troupe-Then          `<kind>.<key>.<method>`: what became of the command goes there as a command (control.Ended)
    Troupe-Fork          `<kind>.<key>.<step>.<command id>`: the run begins with what that one did before that step
    Troupe-Tags          words to find its run by, separated by commas (see schemas.runs.tags_of)
    Troupe-Queue-Timeout seconds after which a run that has not begun is not wanted any more
    Troupe-Run-Timeout   seconds after which a run is ended, over all of its attempts and the time it waits
    Troupe-Principal     who asks; believed only beside a valid Troupe-Signature
    Troupe-Roles         the roles of the principal, joined by commas; believed as it is
    Troupe-Sender        the actor of the tenant that sends this, `<kind>.<key>`; believed only beside a valid proof
    Troupe-Sender-Proof  what proves it, made by the pod that runs that actor (schemas/signature.py)
    Troupe-Object        the body is in the object store under this name (bodies above the broker's limit)
    Content-Type         application/json (the default) or application/msgpack
    traceparent, tracestate, baggage    W3C trace context and baggage
    ctx-*                what the caller wants every hop to know (up to 16 of these and of W3C's, 1024 characters each)

The last two lines travel on: to whatever a command's handler sends or asks, its children, timers and schedules.
"""

from __future__ import annotations

from collections.abc import Mapping

ID = "Troupe-Id"
REPLY = "Troupe-Reply"
REPLY_MODE = "Troupe-Reply-Mode"
DEADLINE = "Troupe-Deadline"
START_AT = "Troupe-Start-At"
PRIORITY = "Troupe-Priority"
SESSION = "Troupe-Session"
CORRELATION = "Troupe-Correlation"
CAUSATION = "Troupe-Causation"
CHAIN = "Troupe-Chain"
ANSWER = "Troupe-Answer"
THEN = "Troupe-Then"
PRINCIPAL = "Troupe-Principal"
ROLES = "Troupe-Roles"
SIGNATURE = "Troupe-Signature"
SENDER = "Troupe-Sender"
SENDER_PROOF = "Troupe-Sender-Proof"
OBJECT = "Troupe-Object"
FORK = "Troupe-Fork"
TAGS = "Troupe-Tags"
QUEUE_TIMEOUT = "Troupe-Queue-Timeout"
RUN_TIMEOUT = "Troupe-Run-Timeout"
CONTENT_TYPE = "Content-Type"
TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"
BAGGAGE = "baggage"
CONTEXT_PREFIX = "ctx-"
_W3C = frozenset([TRACEPARENT, TRACESTATE, BAGGAGE])
MAX_TRAVELLING = 16
MAX_TRAVELLING_LENGTH = 1024

TIMER = "Troupe-Timer"
"""In rows of the engine's own only: the name of the timer whose command waits. Nobody sends it."""

FIRST_AT = "Troupe-First-At"
"""In rows of the engine's own only: when it was accepted, in Unix milliseconds. Nobody sends it."""

PERMIT = "Troupe-Permit"
"""In rows of the engine's own only: the kind of the actor that is told of the run's end. Nobody sends it."""

MAX_PRIORITY = 100

QUEUE_UNTIL = "Troupe-Queue-Until"
RUN_UNTIL = "Troupe-Run-Until"
"""In rows of the engine's own only: the time-outs of a run as Unix milliseconds, counted from its acceptance."""

BATCH_REPLIES = "batch"

MAX_ID_LENGTH = 200


def is_id(text: str) -> bool:
    """Whether `text` can be an id in a header: 1 to 200 printable ASCII characters without spaces."""
    return 0 < len(text) <= MAX_ID_LENGTH and text.isascii() and text.isprintable() and " " not in text


def travels(name: str) -> bool:
    """Whether a header goes on to what its command leads to."""
    return name in _W3C or name.startswith(CONTEXT_PREFIX)


def travelling(headers: Mapping[str, str]) -> dict[str, str]:
    """Those of these headers that go on; what is too long, or beyond the most, does not."""
    found = [(name, value) for name, value in headers.items() if travels(name) and _may_travel(name, value)]
    return dict(found[:MAX_TRAVELLING])


def check_travelling(headers: Mapping[str, str]) -> None:
    """Raises ValueError for headers of which `travelling` would leave one out."""
    for name, value in headers.items():
        if not _may_travel(name, value):
            most = MAX_TRAVELLING_LENGTH
            raise ValueError(f"header {name[:80]!r} is not 1 to {most} printable ASCII characters")
    if len(headers) > MAX_TRAVELLING:
        raise ValueError(f"there are {len(headers)} headers that travel on, and {MAX_TRAVELLING} is the most")


def _may_travel(name: str, value: str) -> bool:
    short = 0 < len(value) <= MAX_TRAVELLING_LENGTH and len(name) <= MAX_ID_LENGTH
    return short and value.isascii() and value.isprintable() and is_id(name)
