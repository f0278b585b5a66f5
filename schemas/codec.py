"""Bodies: JSON by default, MessagePack when the content type says so."""

from __future__ import annotations

from typing import Any

import msgspec

JSON = "application/json"
MSGPACK = "application/msgpack"


class BadBody(ValueError):
    """The body is not what its content type says; the message has the place."""


def is_msgpack(content_type: str | None) -> bool:
    """Whether a body is MessagePack. Raises BadBody for a content type that is neither of the two."""
    if content_type is None or content_type == JSON:
        return False
    base = content_type.partition(";")[0].strip().lower()
    if base in (MSGPACK, "application/x-msgpack", "application/vnd.msgpack"):
        return True
    if base in (JSON, ""):
        return False
    raise BadBody(f"content type {content_type[:80]!r} is not known: send {JSON} or {MSGPACK}")


def decode(body: bytes, content_type: str | None = None) -> Any:
    """The plain value in `body`; an empty body is None. Raises BadBody."""
    if not body:
        return None
    try:
        return msgspec.msgpack.decode(body) if is_msgpack(content_type) else msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadBody(f"the body is not valid {content_type or JSON}: {error}") from error


def encode(value: Any, content_type: str | None = None) -> bytes:
    """`value` as bytes of the content type."""
    return msgspec.msgpack.encode(value) if is_msgpack(content_type) else msgspec.json.encode(value)
