"""From a body to a handler's arguments and from its result to JSON, both checked against the handler's annotations.

A handler takes either one payload (a msgspec Struct, dataclass, TypedDict or pydantic model: the body is that object)
or parameters by name (the body is an object with those names). Whatever does not fit is an InvalidArguments whose
`path` names the place.
"""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable
from typing import Any

import msgspec

from runtime.errors import BadDefinition, BadResult
from schemas import codec

Hints = dict[str, Any]


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
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
                raise BadDefinition(f"{name_of(handler)} takes *{parameter.name}: name each argument instead")
        self._names = tuple(parameter.name for parameter in parameters)
        first = hints.get(self._names[0]) if len(parameters) == 1 else None
        self.single = first is not None and is_payload(first)
        self.payload: Any = first if self.single else _struct_of(handler, parameters, hints)
        self._convert: Callable[[Any], Any] | None = None
        if is_pydantic(self.payload):
            self._convert = self.payload.model_validate
            self._json = self._msgpack = None
        else:
            try:
                self._json = msgspec.json.Decoder(self.payload)
                self._msgpack = msgspec.msgpack.Decoder(self.payload)
            except TypeError as error:
                raise BadDefinition(f"an argument of {name_of(handler)} has an unsupported type: {error}") from error

    def decode(self, body: bytes, content_type: str | None = None) -> Any:
        """The payload, or the Struct of named arguments. Raises InvalidArguments."""
        try:
            if self._convert is not None:
                return self._convert(codec.decode(body, content_type))
            decoder = self._msgpack if content_type and codec.is_msgpack(content_type) else self._json
            assert decoder is not None
            return decoder.decode(body or b"{}" if decoder is self._json else body or b"\x80")
        except msgspec.ValidationError as error:
            message, _, path = str(error).partition(" - at `")
            raise InvalidArguments(message, path.rstrip("`") or "$") from error
        except (msgspec.DecodeError, codec.BadBody, UnicodeDecodeError, RecursionError) as error:
            raise InvalidArguments(f"the body is not readable as {content_type or codec.JSON}: {error}") from error
        except ValueError as error:
            raise _from_pydantic(error) from error

    def spread(self, payload: Any) -> tuple[Any, ...]:
        """The decoded payload as the positional arguments of the handler."""
        return (payload,) if self.single else tuple([getattr(payload, name) for name in self._names])

    def schema(self) -> dict[str, Any]:
        """JSON Schema of the body."""
        return schema_of(self.payload)


class Result:
    """How a handler's result becomes JSON; checked against the return annotation, if there is one."""

    __slots__ = ("_annotation", "_decoder", "_handler")

    def __init__(self, handler: Callable[..., Any], annotation: Any) -> None:
        self._handler = handler
        self._annotation = annotation
        self._decoder: msgspec.json.Decoder[Any] | None = None
        if annotation is not Any and not is_pydantic(annotation):
            try:
                self._decoder = msgspec.json.Decoder(annotation)
            except TypeError:
                self._decoder = None  # a type msgspec does not know: what is encoded is what is sent

    def encode(self, value: Any) -> bytes:
        """`value` as JSON. Raises BadResult when it cannot be encoded or does not fit the annotation."""
        try:
            encoded = encode_json(value)
            if self._decoder is not None:
                self._decoder.decode(encoded)
        except (TypeError, ValueError, RecursionError) as error:
            expected = getattr(self._annotation, "__name__", self._annotation)
            raise BadResult(
                f"{name_of(self._handler)} returned {type(value).__name__}, which does not fit {expected}: {error}"
            ) from error
        if is_pydantic(self._annotation) and not isinstance(value, self._annotation):
            raise BadResult(f"{name_of(self._handler)} returned {type(value).__name__}, not {self._annotation.__name__}")
        return encoded

    def schema(self) -> dict[str, Any]:
        """JSON Schema of the result."""
        return schema_of(self._annotation)


def encode_json(value: Any) -> bytes:
    """Any supported value as JSON. Raises TypeError or ValueError (a lone surrogate, a key that is no string)."""
    return msgspec.json.encode(value, enc_hook=_plain)


def schema_of(kind: Any) -> dict[str, Any]:
    """JSON Schema of a type, `{}` where it cannot be described."""
    if is_pydantic(kind):
        schema: dict[str, Any] = kind.model_json_schema()
        return schema
    try:
        return msgspec.json.schema(kind) if kind is not Any else {}
    except TypeError:
        return {}


def _plain(value: Any) -> Any:
    if is_pydantic(type(value)):
        return value.model_dump(mode="json")
    raise TypeError(f"a value of type {type(value).__name__} has no JSON form")


def _struct_of(handler: Callable[..., Any], parameters: list[inspect.Parameter], hints: Hints) -> type[msgspec.Struct]:
    fields: list[Any] = []
    for parameter in parameters:
        kind = hints.get(parameter.name, Any)
        if parameter.default is parameter.empty:
            fields.append((parameter.name, kind))
        elif isinstance(parameter.default, (list, dict, set)):
            default = parameter.default
            fields.append((parameter.name, kind, msgspec.field(default_factory=lambda d=default: type(d)(d))))
        else:
            fields.append((parameter.name, kind, parameter.default))
    # An argument nobody takes is a typing error of the caller's, which an optional argument would otherwise hide.
    return msgspec.defstruct(
        f"{getattr(handler, '__name__', 'handler')}_arguments", fields, kw_only=True, forbid_unknown_fields=True
    )


def _from_pydantic(error: ValueError) -> InvalidArguments:
    details = getattr(error, "errors", None)
    if callable(details):
        first = details()[0]
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
        return InvalidArguments(str(first["msg"]), f"${path}")
    return InvalidArguments(str(error))
