"""Failures on the wire become exceptions, and exceptions failures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import msgspec

from runtime.arguments import UNENCODABLE, encode_json, json_decoder
from runtime.errors import CallFailed, Rejected
from schemas.address import BadAddress
from schemas.headers import MAX_ID_LENGTH, is_id
from schemas.wire import Failure

_decode_any = msgspec.json.Decoder(Any).decode


def error_of(failure: Failure) -> Rejected | CallFailed:
    """The exception that a failure in a reply becomes."""
    if failure.code == "rejected":
        return Rejected(failure.message, failure.details)
    return CallFailed(failure.code, failure.message, path=failure.path, details=failure.details)


@contextmanager
def address_checked() -> Iterator[None]:
    """Within it, a BadAddress becomes a CallFailed."""
    try:
        yield
    except BadAddress as error:
        raise CallFailed("bad_address", str(error)) from error


def checked_id(id: str) -> str:
    """`id` when it can be a command's id; raises CallFailed otherwise."""
    if not is_id(id):
        raise CallFailed(
            "bad_request", f"{id[:80]!r} cannot be an id: use 1 to {MAX_ID_LENGTH} printable ASCII characters"
        )
    return id


def encode_body(payload: Any) -> bytes:
    """A payload as a command's body; None is the empty body. Raises CallFailed."""
    if payload is None:
        return b""
    try:
        return encode_json(payload)
    except (*UNENCODABLE, RecursionError) as error:
        raise CallFailed("invalid_arguments", f"the arguments have no JSON form: {error}") from error


def decode_as(result: msgspec.Raw | bytes, type: Any) -> Any:
    """A result as the type that the caller expects. Raises CallFailed (bad_result) when it is something else."""
    if type is Any:
        return _decode_any(result)
    try:
        return _decoder(type).decode(result)
    except ValueError as error:  # msgspec's and pydantic's errors are ValueErrors
        raise CallFailed("bad_result", f"the result is not what the caller expects: {error}") from error


@lru_cache(maxsize=1024)
def _decoder(type: Any) -> msgspec.json.Decoder[Any]:
    try:
        return json_decoder(type)
    except TypeError:
        # It has no JSON Schema, as our own Structs with a Raw default have none; it can be read all the same.
        return msgspec.json.Decoder(type)
