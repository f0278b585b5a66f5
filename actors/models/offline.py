"""The model that is built in: rules over words, no weights, no network. It says that it is offline.

It calls the tool whose name and description share most words with what the user said last, with arguments that it
finds in there (numbers for numbers, quoted texts and what follows a parameter's name for texts, the whole sentence
for a single text), and tells what came of it. It fills a JSON Schema from the text in the same way. It is good enough
to see that everything works, and for tests, since it always answers the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Iterator
from typing import Any

from actors.models.fleet import CHARACTERS_A_TOKEN, OFFLINE, tokens_of
from actors.models.model import Target
from actors.models.wire import CallPiece, Completion, Delta, Message, ModelRequest, ToolCall, ToolSpec, Usage
from actors.words import words

HAND_OFF = "transfer_to_"
"""Begins the names of tools whose result is that another agent is asked."""

MARK = "[offline model]"
"""Begins what it says of its own accord."""

_QUOTED = re.compile(r"\"([^\"]+)\"|'([^']+)'|“([^”]+)”")
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?")
_PIECE = re.compile(r"\S+\s*")


class OfflineModel:
    """See the module."""

    async def stream(self, target: Target, request: ModelRequest) -> AsyncGenerator[Delta | Completion, None]:
        """See Model. Never fails."""
        message = answer(request)
        for piece in _PIECE.findall(message.content):
            yield Delta(piece)
        for index, call in enumerate(message.tool_calls):
            yield Delta(call=CallPiece(index, call.id, call.name, call.arguments))
        said = len(message.content) + sum(len(call.arguments) for call in message.tool_calls)
        usage = Usage(tokens_of(request), said // CHARACTERS_A_TOKEN, 0.0)
        yield Completion(message, OFFLINE, "tool_calls" if message.tool_calls else "stop", usage)


def answer(request: ModelRequest) -> Message:
    """What it answers: the same to the same request."""
    last = request.messages[-1] if request.messages else Message("user")
    people = (message.content for message in reversed(request.messages) if message.role == "user" and not message.name)
    asked = next(people, "")
    if request.json_schema is not None:
        tool = None if last.role == "tool" else _fitting(request.tools, asked)
        if tool is not None and not (found := _arguments(tool, asked))[1]:
            return _calling(request, tool, found[0])
        known = "\n".join([asked, *_results(request.messages)])
        return Message("assistant", json.dumps(_value(request.json_schema, known), ensure_ascii=False))
    if last.role == "tool" and not last.name.startswith(HAND_OFF):
        results = _results(request.messages)
        return Message("assistant", f"{MARK} {' '.join(results)}")
    tool = _fitting(request.tools, asked)
    if tool is None:
        return Message("assistant", f"{MARK} You said: {asked.strip()}" if asked.strip() else f"{MARK} Say something.")
    arguments, missing = _arguments(tool, asked)
    if missing:
        return Message("assistant", f"{MARK} {tool.name} needs to know: {', '.join(missing)}.")
    return _calling(request, tool, arguments)


def _calling(request: ModelRequest, tool: ToolSpec, arguments: dict[str, Any]) -> Message:
    call = ToolCall(f"call-{len(request.messages)}", tool.name, json.dumps(arguments, ensure_ascii=False))
    return Message("assistant", tool_calls=(call,))


def _results(messages: tuple[Message, ...]) -> list[str]:
    """What the tools gave that were called last."""
    found: list[str] = []
    for message in reversed(messages):
        if message.role != "tool":
            break
        found.append(message.content)
    return found[::-1]


def _fitting(tools: tuple[ToolSpec, ...], asked: str) -> ToolSpec | None:
    said = set(words(asked))
    scored = [(len(said & set(words(f"{tool.name.replace('_', ' ')} {tool.description}"))), tool) for tool in tools]
    best = max((score for score, _ in scored), default=0)
    return next((tool for score, tool in scored if score == best), None) if best else None


def _arguments(tool: ToolSpec, asked: str) -> tuple[dict[str, Any], list[str]]:
    """Its arguments, and the names of those that it needs and are not in the text."""
    properties: dict[str, Any] = tool.parameters.get("properties", {})
    required = [name for name in tool.parameters.get("required", ()) if name in properties]
    found = _filled(properties, asked, rest_for=required)
    return found, [name for name in required if name not in found]


def _filled(properties: dict[str, Any], asked: str, rest_for: list[str]) -> dict[str, Any]:
    numbers = iter(_NUMBER.findall(asked))
    quoted = iter(["".join(found) for found in _QUOTED.findall(asked)])
    found: dict[str, Any] = {}
    for name, schema in properties.items():
        value = _found(name, schema, asked, numbers, quoted)
        if value is not None:
            found[name] = value
    texts = [name for name in rest_for if name not in found and _kind(properties[name]) == "string"]
    if len(texts) == 1 and asked.strip():
        found[texts[0]] = asked.strip()
    return found


def _found(name: str, schema: dict[str, Any], asked: str, numbers: Iterator[str], quoted: Iterator[str]) -> Any:
    kind = _kind(schema)
    if "enum" in schema:
        said = words(asked)
        return next((one for one in schema["enum"] if (known := set(words(str(one)))) and known <= set(said)), None)
    if kind == "integer":
        number = next((one for one in numbers if "." not in one), None)
        return None if number is None else int(number)
    if kind == "number":
        number = next(numbers, None)
        return None if number is None else float(number)
    if kind == "boolean":
        return True if name and name.replace("_", " ").lower() in asked.lower() else None
    if kind == "string":
        text = next(quoted, None)
        if text is None:
            after = re.search(rf"\b{re.escape(name.replace('_', ' '))}\b\s*(?:is|:|=)?\s*(\S+)", asked, re.IGNORECASE)
            text = after.group(1).strip(".,;!?") if after else None
        return text
    return None


def _kind(schema: dict[str, Any]) -> str:
    kind = schema.get("type", "string" if "enum" in schema else "")
    return next((one for one in kind if one != "null"), "") if isinstance(kind, list) else str(kind)


def _value(schema: dict[str, Any], asked: str) -> Any:
    """Something that conforms to a schema of JSON's plain types, with what the text holds of it."""
    if "$ref" in schema and (defs := schema.get("$defs")):
        schema = {**defs[schema["$ref"].rpartition("/")[2]], "$defs": defs}
    kind = _kind(schema)
    if kind == "object" or "properties" in schema:
        properties: dict[str, Any] = schema.get("properties", {})
        found = _filled(properties, asked, rest_for=list(properties))
        shared = {"$defs": schema["$defs"]} if "$defs" in schema else {}
        for name in schema.get("required", ()):
            if name not in found:
                inner = {**properties.get(name, {}), **shared}
                # What holds others has them from the same text.
                holds = "$ref" in inner or _kind(inner) in ("object", "array")
                found[name] = _value(inner, asked if holds else "")
        return found
    if kind == "array" and asked.strip() and isinstance(schema.get("items"), dict):
        shared = {"$defs": schema["$defs"]} if "$defs" in schema else {}
        return [_value({**schema["items"], **shared}, asked)]
    numbers, quoted = iter(_NUMBER.findall(asked)), iter(())
    value = _found("", schema, asked, numbers, quoted) if kind != "string" else asked.strip()
    if value is not None:
        return value
    empty: dict[str, Any] = {"string": "", "integer": 0, "number": 0.0, "boolean": False, "array": [], "null": None}
    return schema["enum"][0] if schema.get("enum") else schema.get("default", empty.get(kind))
