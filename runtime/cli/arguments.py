"""A command's arguments as typed on a command line."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from runtime.errors import Misconfigured

_NAMED = re.compile(r"([A-Za-z_]\w*)=(.*)\Z", re.DOTALL)
_WANTED = "write one JSON value ('{\"amount\": 3}'), name=value pairs (amount=3), @FILE, or - for JSON on stdin"


def body_of(words: Sequence[str]) -> bytes:
    """The JSON that the words mean, empty for none.

    One word is JSON, `@FILE` or `-`; words of the form name=value make an object, in which a value that is not JSON is
    a text. Raises Misconfigured.
    """
    if not words:
        return b""
    named = [_NAMED.match(word) for word in words]
    if all(named):
        return msgspec.json.encode({match[1]: _value(match[2]) for match in named if match})
    if len(words) > 1:
        odd = next(word for word, match in zip(words, named, strict=True) if not match)
        raise Misconfigured(f"{odd[:80]!r} is not name=value: {_WANTED}")
    return _json(_read(words[0]))


def _read(word: str) -> bytes:
    if word == "-":
        return sys.stdin.buffer.read()
    if not word.startswith("@"):
        return word.encode("utf-8", "surrogateescape")
    try:
        return Path(word[1:]).read_bytes()
    except OSError as error:
        raise Misconfigured(f"the arguments file {word[1:]!r} cannot be read: {error.strerror}") from error


def _json(text: bytes) -> bytes:
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Misconfigured(f"the arguments are not JSON ({error}): {_WANTED}") from error
    return text


def _value(text: str) -> object:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return text
