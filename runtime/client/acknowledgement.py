"""What the broker says to a message that it was asked to store."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from runtime.errors import CallFailed

_STREAM_STORE_FAILED = 10077
_MESSAGE_TOO_LARGE = 10054
_FULL = "maximum"
"""How every description of a reached limit begins: maximum messages, bytes, messages per subject exceeded."""


class _ApiError(msgspec.Struct):
    code: int = 500
    err_code: int = 0
    description: str = ""


class _PubAck(msgspec.Struct):
    stream: str = ""
    seq: int = 0
    error: _ApiError | None = None


class Outcome(NamedTuple):
    """`error` is None when the message is stored; `passing` says that the same message may be stored later."""

    error: CallFailed | None
    passing: bool = False
    sequence: int = 0


_decode = msgspec.json.Decoder(_PubAck).decode


def outcome_of(subject: str, id: str, header: bytes, data: bytes) -> Outcome:
    """What became of the message `id` on `subject`, from what came back on its reply subject."""
    details: Any = {"id": id}
    if header.startswith(b"NATS/1.0 503"):
        message = f"no stream stores {subject} now: the stream is missing or has no leader; start a pod, which makes it"
        return Outcome(CallFailed("unavailable", message, details=details), passing=True)
    try:
        answer = _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        message = f"the answer to {subject} is not an acknowledgement of JetStream: {data[:80]!r}"
        return Outcome(CallFailed("unavailable", message, details=details), passing=True)
    error = answer.error
    if error is None:
        return Outcome(None, sequence=answer.seq)
    told = f"the broker did not store command {id!r} to {subject}: {error.description} ({error.err_code})"
    if error.err_code == _MESSAGE_TOO_LARGE:
        return Outcome(CallFailed("too_large", told, details=details))
    if error.err_code == _STREAM_STORE_FAILED or error.description.startswith(_FULL):
        return Outcome(CallFailed("stream_full", f"{told}; send it again with the same id later", details=details))
    return Outcome(CallFailed("unavailable", told, details=details), passing=error.code >= 500)
