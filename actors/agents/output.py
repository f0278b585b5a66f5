"""Answers of a shape: what a model is told of the shape, how its answer is read, and how it is asked to mend it."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from actors.models.wire import Message
from runtime.arguments import UNENCODABLE, describe, encode_json, json_decoder
from runtime.errors import BadDefinition
from runtime.failure import text_of

VALIDATOR = "validator"
"""Who speaks where an answer does not fit."""

_FENCED = re.compile(r"\A\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*\Z", re.DOTALL)


class DoesNotFit(Exception):
    """The answer is not of the shape; says where and why."""


class Output:
    """A shape: a msgspec Struct, a dataclass, a TypedDict, a pydantic model. Raises BadDefinition for another type."""

    def __init__(self, agent: str, type: Any) -> None:
        self.type = type
        try:
            self._decoder = json_decoder(type)
            self.schema = describe(type)
        except (TypeError, NameError) as error:
            raise BadDefinition(f"agent {agent!r} cannot answer with {type!r}: {error}") from error

    def read(self, text: str) -> Any:
        """An answer as plain values of the shape, defaults filled in. Raises DoesNotFit."""
        fenced = _FENCED.match(text)
        try:
            value = self._decoder.decode((fenced.group(1) if fenced else text).encode())
            return msgspec.json.decode(encode_json(value))
        except (*UNENCODABLE, RecursionError) as error:
            raise DoesNotFit(text_of(error)) from error


def mend(error: DoesNotFit) -> Message:
    """What the model is told of an answer that does not fit."""
    text = f"That answer does not fit the schema: {error}. Answer with JSON that conforms to it, and nothing else."
    return Message("user", text, name=VALIDATOR)
