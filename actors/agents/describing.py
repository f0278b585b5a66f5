"""What a model is told of a function: its docstring and its annotations, as a JSON Schema."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from runtime.arguments import Arguments

_ARGUMENT = re.compile(r"^\s*(\w+)\s*(?:\([^)]*\))?:\s*(.*)$")


def described(doc: str) -> tuple[str, dict[str, str]]:
    """What a docstring says of the function, and of its arguments by name."""
    about, _, rest = doc.partition("Args:")
    arguments: dict[str, str] = {}
    for line in rest.splitlines():
        if line and not line.startswith(" "):
            break
        if found := _ARGUMENT.match(line):
            arguments[found.group(1)] = found.group(2).strip()
    return about.partition("Returns:")[0].strip(), arguments


def schema_of(arguments: Arguments, described: Mapping[str, str]) -> dict[str, Any]:
    schema = plain(arguments.schema())
    for name, text in described.items():
        if name in schema.get("properties", {}):
            schema["properties"][name] = {**schema["properties"][name], "description": text}
    return schema


def plain(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema of an object whose first reference is in its place: models expect `properties` at the top."""
    defs = dict(schema.get("$defs", {}))
    if "$ref" in schema:
        schema = dict(defs.pop(schema["$ref"].rpartition("/")[2]))
        if defs:
            schema["$defs"] = defs
    schema = {name: value for name, value in schema.items() if name != "title"}
    return {"type": "object", "properties": {}} | schema


