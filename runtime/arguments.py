"""From a body to a handler's arguments and from its result to JSON, both checked against the handler's annotations.

A handler takes either one payload (a msgspec Struct, dataclass, TypedDict or pydantic model: the body is that object)
or parameters by name (the body is an object with those names). Whatever does not fit is an InvalidArguments whose
`path` names the place.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from runtime.ambient.secrets import guard
from runtime.errors import BadDefinition, BadResult
from schemas import codec

Hints = dict[str, Any]

MAX_NESTING = 200
"""How deep lists and objects may nest in arguments. What can be decoded depends on the depth of the caller's own stack,
so without a limit far below Python's an event could be written on one stack and be unreadable on another."""

MAX_KEPT_NESTING = 2 * MAX_NESTING
"""The same for what is kept, which wraps arguments."""

_STRINGS = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_ONLY_BRACKETS: dict[int, str | None] = {
    **dict.fromkeys(range(128)),
    **{ord(given): kept for given, kept in zip("[]{}", "[][]", strict=True)},
}
_NO_ARGUMENTS = (b"", b"null", b"\xc0")

UNENCODABLE = (TypeError, ValueError, OverflowError, msgspec.MsgspecError)
"""What encoding and decoding raise, besides RecursionError, for a value without a JSON form or of the wrong type."""


class InvalidArguments(Exception):
    """The body does not fit the method. `path` is a JSON path such as `$.amount`, when one place is at fault."""

    def __init__(self, message: str, path: str | None = None) -> None:
        super().__init__(message)
        self.path = path


def hints_of(handler: Callable[..., Any]) -> Hints:
    """The handler's annotations, resolved. Raises BadDefinition naming the handler when one cannot be resolved."""
    try:
        return typing.get_type_hints(handler, include_extras=True)
    except (NameError, TypeError) as error:
        raise BadDefinition(f"the annotations of {name_of(handler)} cannot be resolved: {error}") from error


def name_of(handler: Callable[..., Any]) -> str:
    """The handler as errors and logs name it: `module.qualname`."""
    return f"{handler.__module__}.{getattr(handler, '__qualname__', repr(handler))}"


def is_pydantic(kind: Any) -> bool:
    """Whether `kind` is a pydantic model class, without importing pydantic."""
    return isinstance(kind, type) and hasattr(kind, "model_validate") and hasattr(kind, "model_json_schema")


def is_payload(kind: Any) -> bool:
    """Whether one parameter of this type is the whole body."""
    if is_pydantic(kind):
        return True
    if not isinstance(kind, type):
        return False
    return issubclass(kind, msgspec.Struct) or dataclasses.is_dataclass(kind) or typing.is_typeddict(kind)


class Arguments:
    """How a method's body becomes its handler's arguments: `decode(body, content_type)` gives what `call` spreads."""

    __slots__ = ("_convert", "_json", "_msgpack", "_names", "payload", "single")

    def __init__(self, handler: Callable[..., Any], parameters: list[inspect.Parameter], hints: Hints) -> None:
        for parameter in parameters:
            if parameter.kind is not parameter.POSITIONAL_OR_KEYWORD:
                raise BadDefinition(
                    f"{name_of(handler)} takes {parameter.name!r} as {parameter.kind.description}: "
                    "declare it as a plain parameter, without '*' or '/'"
                )
        self._names = tuple(parameter.name for parameter in parameters)
        first = hints.get(self._names[0]) if len(parameters) == 1 else None
        self.single = first is not None and is_payload(first)
        self.payload: Any = first if self.single else _struct_of(handler, parameters, hints)
        try:
            self._json = json_decoder(self.payload)
            self._msgpack: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(self.payload, dec_hook=_from_plain)
        except (TypeError, NameError) as error:
            raise BadDefinition(f"an argument of {name_of(handler)} has an unsupported type: {error}") from error

    def decode(self, body: bytes, content_type: str | None = None) -> Any:
        """The payload, or the Struct of named arguments. Raises InvalidArguments."""
        try:
            if content_type and codec.is_msgpack(content_type):
                return self._msgpack.decode(body if body not in _NO_ARGUMENTS else b"\x80")
            if len(body) < 5 and body in _NO_ARGUMENTS:
                body = b"{}"
            elif nests_too_deep(body):
                raise InvalidArguments(f"the body nests deeper than {MAX_NESTING} levels: send it flatter")
            return self._json.decode(body)
        except msgspec.ValidationError as error:
            raise _invalid(error) from error
        except (msgspec.DecodeError, codec.BadBody, UnicodeDecodeError, RecursionError) as error:
            raise InvalidArguments(f"the body is not readable as {content_type or codec.JSON}: {error}") from error

    def spread(self, payload: Any) -> tuple[Any, ...]:
        """The decoded payload as the positional arguments of the handler."""
        return (payload,) if self.single else tuple([getattr(payload, name) for name in self._names])

    def schema(self) -> dict[str, Any]:
        """JSON Schema of the body."""
        return schema_of(self.payload)


class Result:
    """How a handler's result becomes JSON; checked against the return annotation, if there is one."""

    __slots__ = ("_annotation", "_decoder", "_handler", "_model")

    def __init__(self, handler: Callable[..., Any], annotation: Any) -> None:
        self._handler = handler
        self._annotation = annotation
        self._model = is_pydantic(annotation)
        self._decoder: msgspec.json.Decoder[Any] | None = None
        if annotation is not Any:
            try:
                describe(annotation)
                self._decoder = msgspec.json.Decoder(annotation, dec_hook=_unchecked)
            except (TypeError, NameError):
                self._decoder = None  # a type msgspec does not know: what is encoded is what is sent

    def encode(self, value: Any) -> bytes:
        """`value` as JSON. Raises BadResult when it cannot be encoded or does not fit the annotation."""
        try:
            encoded: bytes = _encode_for_callers(value)
            if self._decoder is not None:
                self._decoder.decode(encoded)
        except (*UNENCODABLE, RecursionError) as error:
            expected = getattr(self._annotation, "__name__", self._annotation)
            raise BadResult(
                f"{name_of(self._handler)} returned {type(value).__name__}, which does not fit {expected}: {error}"
            ) from error
        if self._model and not isinstance(value, self._annotation):
            raise BadResult(
                f"{name_of(self._handler)} returned {type(value).__name__}, not {self._annotation.__name__}"
            )
        if guard.knows:
            guard.checked(encoded, f"what {name_of(self._handler)} returned")
        return encoded

    def schema(self) -> dict[str, Any]:
        """JSON Schema of the result."""
        return schema_of(self._annotation)


def encode_json(value: Any) -> bytes:
    """Any supported value as JSON that `json_decoder` reads back. NaN and infinities become null: JSON has none.

    Raises one of UNENCODABLE: for a lone surrogate, a key that is no string or number, a type without a JSON form.
    """
    return _encode(value)


def encode_sorted(value: Any) -> bytes:
    """The same, with keys and sets in order: equal values give equal text in every process. Raises as encode_json."""
    return _encode_sorted(value)


def json_decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    """Reads JSON into `kind`, which may hold pydantic models. Raises TypeError when there is no such reading."""
    describe(kind)  # a decoder takes any class, and would fail only at the first value
    return msgspec.json.Decoder(kind, dec_hook=_from_plain)


def nests_too_deep(text: bytes | str, limit: int = MAX_NESTING) -> bool:
    """Whether JSON text nests deeper than `limit`. Text that is not JSON is left to the decoder: False."""
    if len(text) < 2 * limit:
        return False
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    if text.count("[") + text.count("{") <= limit:
        return False
    brackets = _STRINGS.sub("", text).encode("ascii", "ignore").decode().translate(_ONLY_BRACKETS)
    for _ in range(limit):
        inner = brackets.replace("[]", "")
        if inner == brackets:
            return False
        brackets = inner
    return bool(brackets)


def describe(kind: Any) -> dict[str, Any]:
    """JSON Schema of a type. Raises TypeError or NameError when it has no JSON form."""
    definitions: dict[str, Any] = {}

    def hook(custom: Any) -> dict[str, Any]:
        if not is_pydantic(custom):
            raise TypeError(f"{custom!r} has no JSON form")
        schema: dict[str, Any] = custom.model_json_schema()
        definitions.update(schema.pop("$defs", {}))
        return schema

    if kind is Any:
        return {}
    schema = msgspec.json.schema(kind, schema_hook=hook)
    if definitions:
        schema["$defs"] = definitions | schema.get("$defs", {})
    return schema


def schema_of(kind: Any) -> dict[str, Any]:
    """JSON Schema of a type, `{}` where it cannot be described."""
    try:
        return describe(kind)
    except (TypeError, NameError):
        return {}


def _plain(value: Any) -> Any:
    if is_pydantic(type(value)):
        return value.model_dump(mode="json", by_alias=True, round_trip=True)
    raise TypeError(f"a value of type {type(value).__name__} has no JSON form")


def _plain_for_callers(value: Any) -> Any:
    if is_pydantic(type(value)):
        return value.model_dump(mode="json", by_alias=True)
    raise TypeError(f"a value of type {type(value).__name__} has no JSON form")


def _from_plain(kind: Any, value: Any) -> Any:
    if is_pydantic(kind):
        return kind.model_validate_json(msgspec.json.encode(value))  # pydantic's own JSON rules, also for MessagePack
    raise NotImplementedError  # msgspec's word for "not mine": it then names the type in an error of its own


def _unchecked(kind: Any, value: Any) -> Any:
    # What pydantic shows (with computed fields, under other names) is not always what it would take.
    if is_pydantic(kind):
        return kind.model_construct()
    raise NotImplementedError  # as above


_encode = msgspec.json.Encoder(enc_hook=_plain).encode
_encode_sorted = msgspec.json.Encoder(enc_hook=_plain, order="deterministic").encode
_encode_for_callers = msgspec.json.Encoder(enc_hook=_plain_for_callers).encode


def _struct_of(handler: Callable[..., Any], parameters: list[inspect.Parameter], hints: Hints) -> type[msgspec.Struct]:
    fields: list[Any] = []
    for parameter in parameters:
        kind = hints.get(parameter.name, Any)
        if parameter.default is parameter.empty:
            fields.append((parameter.name, kind))
        elif isinstance(parameter.default, (list, dict, set)):
            default = parameter.default
            fields.append((parameter.name, kind, msgspec.field(default_factory=partial(type(default), default))))
        else:
            fields.append((parameter.name, kind, parameter.default))
    # An argument nobody takes is a typing error of the caller's, which an optional argument would otherwise hide.
    name = f"{getattr(handler, '__name__', 'handler')}_arguments"
    try:
        return msgspec.defstruct(name, fields, kw_only=True, forbid_unknown_fields=True)
    except (TypeError, NameError) as error:
        raise BadDefinition(f"an argument of {name_of(handler)} cannot be declared like this: {error}") from error


def _invalid(error: msgspec.ValidationError) -> InvalidArguments:
    message, at, path = str(error).rpartition(" - at `")
    # "- at `$.amount`", or for the key of an object "- at `key` in `$.amounts`"
    path = path.rstrip("`").rpartition("` in `")[2] if at else "$"
    details = getattr(error.__cause__, "errors", None)
    if not callable(details):
        return InvalidArguments(message or str(error), path)
    first = details()[0]
    inner = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
    return InvalidArguments(str(first["msg"]), path + inner)
