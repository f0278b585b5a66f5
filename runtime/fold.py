"""How stored events become state: event types and their older versions, and the digest that tells folds apart.

A snapshot is only as good as the fold that made it, so it carries that digest.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import types
import typing
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec

from runtime.arguments import encode_json, hints_of, is_pydantic, json_decoder, name_of, schema_of
from runtime.errors import BadDefinition
from runtime.kind import StoredEvent

Upcast = Callable[[dict[str, Any]], dict[str, Any]]
Class = type[Any]


class EventType:
    """One type of event: its name in the log, its current version, and how older versions are read."""

    __slots__ = ("decode", "name", "python_type", "upcasts", "version")

    def __init__(self, python_type: Class) -> None:
        self.python_type = python_type
        self.name = python_type.__name__
        self.version = 1
        self.upcasts: dict[int, Upcast] = {}
        try:
            self.decode: Callable[[str | bytes], Any] = json_decoder(python_type).decode
        except (TypeError, NameError) as error:
            raise BadDefinition(f"event {self.name} has a field of an unsupported type: {error}") from error

    def read(self, event: StoredEvent) -> Any:
        """The stored event as its type of today. Raises whatever the decoder or an upcast does when there is no way."""
        if event.version == self.version:
            return self.decode(event.payload)
        if event.version > self.version:
            raise LookupError(f"version {event.version} is newer than this code, which knows {self.version}")
        if event.version < 1:
            raise LookupError("versions count from 1")
        fields = msgspec.json.decode(event.payload)
        for version in range(event.version, self.version):
            fields = self.upcasts[version](fields)
        return self.decode(encode_json(fields))


def state_type_of(apply: Callable[..., Any], initial: Any) -> Any:
    """The type of the state, for reading snapshots: as `apply` annotates it, else the type of `initial`."""
    try:
        annotation = hints_of(apply).get(next(iter(inspect.signature(apply).parameters)))
    except (BadDefinition, StopIteration, ValueError):  # ValueError: a built-in without a signature
        annotation = None
    if annotation is None or annotation is Any or isinstance(annotation, TypeVar):
        return type(initial)
    return annotation


def mutable_in(state_type: Any) -> str | None:
    """The name of a class among the state's types whose instances can be changed in place, if there is one.

    A turn whose commit fails must leave the state as it was. A dict is let through: there is no frozen one.
    """
    for kind in (state_type, *typing.get_args(state_type)):
        if not isinstance(kind, type):
            continue
        config = getattr(kind, "model_config", {})
        struct = issubclass(kind, msgspec.Struct) and not kind.__struct_config__.frozen and kind.__struct_fields__
        data = dataclasses.is_dataclass(kind) and not kind.__dataclass_params__.frozen  # type: ignore[attr-defined]  # private
        model = is_pydantic(kind) and not config.get("frozen")
        if struct or data or model or issubclass(kind, (list, set, bytearray)):
            return kind.__name__
    return None


def events_of(apply: Callable[..., Any]) -> list[Class]:
    """The event types that `apply` names in its annotation. Raises BadDefinition when it names none."""
    parameters = list(inspect.signature(apply).parameters)
    if len(parameters) != 2:
        raise BadDefinition(f"{name_of(apply)} must take the state and an event")
    annotation = hints_of(apply).get(parameters[1])
    if annotation is None or annotation is Any:
        raise BadDefinition(
            f"annotate the event of {name_of(apply)} with its types (Deposited | Withdrawn), or pass events=[...]"
        )
    origin: Any = typing.get_origin(annotation)
    if origin is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
        origin = typing.get_origin(annotation)
    members = typing.get_args(annotation) if origin in (typing.Union, types.UnionType) else (annotation,)
    for member in members:
        if not isinstance(member, type):
            raise BadDefinition(f"{member!r} in the annotation of {name_of(apply)} is not a class")
    return list(members)


def digest_of(apply: Callable[..., Any], state_type: Any, event_types: Iterable[EventType]) -> str:
    """16 hex digits that change when the code of `apply`, the state's shape or an event's version does.

    The same in every process of one Python version. Raises BadDefinition when `apply` is not Python code.
    """
    shape = [
        repr(_code_shape(_code_of(apply))),
        repr(schema_of(state_type)),
        *sorted(f"{event.name}:{event.version}" for event in event_types),
    ]
    return hashlib.blake2b("\n".join(shape).encode(), digest_size=8).hexdigest()


def _code_of(apply: Any) -> types.CodeType:
    while isinstance(apply, functools.partial):
        apply = apply.func
    code = getattr(apply, "__code__", None) or getattr(type(apply).__call__, "__code__", None)
    if not isinstance(code, types.CodeType):
        raise BadDefinition(f"{name_of(apply)} is not a Python function, so changes of it go unseen: pass version=")
    return code


def _code_shape(code: types.CodeType) -> tuple[Any, ...]:
    return (code.co_code, code.co_names, tuple(_constant_shape(constant) for constant in code.co_consts))


def _constant_shape(constant: Any) -> Any:
    if isinstance(constant, types.CodeType):
        return _code_shape(constant)
    if isinstance(constant, frozenset):
        return sorted(map(repr, constant))  # a set's own order changes from process to process
    if isinstance(constant, tuple):
        return tuple(map(_constant_shape, constant))
    return constant
