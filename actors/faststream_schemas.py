"""FastStream's AsyncAPI of subscribers whose bodies are msgspec types.

FastStream 0.7 builds the schema of a body with pydantic, which refuses a msgspec.Struct. So while it describes, Structs
follow pydantic's protocol for types it does not know: each is marked, and the mark is replaced by its own schema.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
from faststream.nats import NatsBroker
from faststream.specification import AsyncAPI
from pydantic_core import CoreSchema, core_schema

from actors.json_schema import Components

_MARK = "x-troupe-schema"


def describe(brokers: Sequence[NatsBroker], components: Components, *, title: str, version: str) -> dict[str, Any]:
    """What FastStream says of the brokers' subscribers and publishers, as AsyncAPI 3.0.

    The schemas of msgspec types are added to `components`.
    """
    with _known_to_pydantic() as marked:
        made = AsyncAPI(*brokers, title=title, version=version, schema_version="3.0.0").to_specification()
        plain = made.to_jsonable()
    described: dict[str, Any] = _replaced(plain, [components.of(kind) for kind in marked])
    return described


@contextmanager
def _known_to_pydantic() -> Iterator[list[type[msgspec.Struct]]]:
    """Within it, pydantic takes Structs; gives those it was shown, by the number in their mark."""
    marked: list[type[msgspec.Struct]] = []

    def core(cls: type[msgspec.Struct], source: Any, handler: Any) -> CoreSchema:
        return core_schema.any_schema()

    def mark(cls: type[msgspec.Struct], schema: CoreSchema, handler: Any) -> dict[str, Any]:
        marked.append(cls)
        return {_MARK: len(marked) - 1}

    hooks = {"__get_pydantic_core_schema__": core, "__get_pydantic_json_schema__": mark}
    for name, hook in hooks.items():
        setattr(msgspec.Struct, name, classmethod(hook))
    try:
        yield marked
    finally:
        for name in hooks:
            delattr(msgspec.Struct, name)


def _replaced(value: Any, schemas: Sequence[dict[str, Any]]) -> Any:
    if isinstance(value, list):
        return [_replaced(item, schemas) for item in value]
    if not isinstance(value, dict):
        return value
    replaced = {name: _replaced(item, schemas) for name, item in value.items() if name != _MARK}
    if _MARK in value:
        # Beside a reference nothing else counts, and FastStream puts a title there.
        replaced["allOf"] = [schemas[value[_MARK]]]
    return replaced
