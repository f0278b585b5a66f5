"""JSON Schemas as components of one document: definitions that were inside each schema get one place and one name."""

from __future__ import annotations

import re
from typing import Any

import msgspec

_NOT_IN_KEYS = re.compile(r"[^A-Za-z0-9._-]")


class Components:
    """The schemas of a document, by name."""

    def __init__(self) -> None:
        self.schemas: dict[str, Any] = {}

    def of(self, kind: Any) -> dict[str, Any]:
        """The schema of a type that msgspec knows; its definitions become components."""
        kind = _without_raw(kind) if isinstance(kind, type) and issubclass(kind, msgspec.Struct) else kind
        (schema,), found = msgspec.json.schema_components([kind], ref_template="#/components/schemas/{name}")
        self.schemas |= found
        return schema

    def lift(self, owner: str, schema: dict[str, Any]) -> dict[str, Any]:
        """A schema whose `$defs` are moved to components named `<owner>.<definition>`."""
        names = {name: _NOT_IN_KEYS.sub("_", f"{owner}.{name}") for name in schema.get("$defs", {})}
        for name, definition in schema.get("$defs", {}).items():
            self.schemas[names[name]] = _renamed(definition, names)
        rest = {name: value for name, value in schema.items() if name != "$defs"}
        lifted: dict[str, Any] = _renamed(rest, names)
        return lifted


def _without_raw(kind: type[msgspec.Struct]) -> type[msgspec.Struct]:
    """The same Struct where `Raw` is any value: msgspec has no schema of a Raw's default."""
    fields = msgspec.structs.fields(kind)
    if all(field.type is not msgspec.Raw for field in fields):
        return kind
    open_fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    for field in fields:
        if field.type is msgspec.Raw:
            open_fields.append((field.name, Any, None))
        elif field.required:
            open_fields.append((field.name, field.type))
        else:
            open_fields.append((field.name, field.type, msgspec.field(default=field.default)))
    return msgspec.defstruct(kind.__name__, open_fields, namespace={"__doc__": kind.__doc__})


def _renamed(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, list):
        return [_renamed(item, names) for item in value]
    if not isinstance(value, dict):
        return value
    reference = value.get("$ref")
    if isinstance(reference, str) and reference.startswith("#/$defs/"):
        return {"$ref": f"#/components/schemas/{names[reference.removeprefix('#/$defs/')]}"}
    return {name: _renamed(item, names) for name, item in value.items()}
