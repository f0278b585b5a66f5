"""The request that calls an operation: where each argument goes, and what shows who calls."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec
from msgspec import Struct

from actors.agents.openapi_document import BODY, Document, Operation, Parameter
from actors.agents.remote import ToolFailed, expanded
from actors.agents.tools import BadCall, ToolContext

IDEMPOTENCY_KEY = "Idempotency-Key"


class Request(Struct):
    """What is sent."""

    method: str
    url: str
    query: list[tuple[str, str | int | float | bool | None]]
    headers: dict[str, str]
    body: bytes | None = None


def made(
    document: Document, operation: Operation, given: Mapping[str, Any], auth: Mapping[str, str], ctx: ToolContext
) -> Request:
    """The request of a call with arguments that fit. Raises BadCall, ToolFailed and MissingSecret."""
    path, cookies = operation.path, dict[str, str]()
    query: list[tuple[str, str | int | float | bool | None]] = []
    headers = {IDEMPOTENCY_KEY: ctx.key, "Accept": "application/json, text/*;q=0.9, */*;q=0.1"}
    for one in operation.parameters:
        value = given.get(one.argument)
        if value is None:
            continue
        if one.place == "path":
            path = path.replace(f"{{{one.name}}}", _segment(operation, one, value))
        elif one.place == "query":
            query += _pairs(one, value)
        elif one.place == "header":
            headers[one.name] = _header(one, _joined(value))
        elif one.place == "cookie":
            cookies[one.name] = _joined(value)
    body = None
    if BODY in given and operation.body:
        is_json = "json" in operation.body
        body = msgspec.json.encode(given[BODY]) if is_json else str(given[BODY]).encode()
        headers["Content-Type"] = operation.body
    request = Request(operation.method.upper(), document.server + path, query, headers, body)
    _sign(document, operation, auth, ctx, request, cookies)
    if cookies:
        headers["Cookie"] = "; ".join(f"{name}={quote(value)}" for name, value in cookies.items())
    return request


def _segment(operation: Operation, one: Parameter, value: Any) -> str:
    text = _joined(value)
    if text in ("", ".", ".."):
        raise BadCall(f"{one.argument} of {operation.spec.name} cannot be {text!r}: it is part of a path")
    return quote(text, safe=",")


def _header(one: Parameter, text: str) -> str:
    if not text.isascii() or any(ord(letter) < 32 for letter in text):
        raise BadCall(f"{one.argument} is sent as a header: ASCII characters without line breaks")
    return text


def _pairs(one: Parameter, value: Any) -> list[tuple[str, str]]:
    if isinstance(value, dict):
        if one.style == "deepObject":
            return [(f"{one.name}[{name}]", _text(part)) for name, part in value.items()]
        if one.explode:
            return [(name, _text(part)) for name, part in value.items()]
    if isinstance(value, list) and one.explode:
        return [(one.name, _text(part)) for part in value]
    separator = {"spaceDelimited": " ", "pipeDelimited": "|"}.get(one.style, ",")
    return [(one.name, _joined(value, separator))]


def _joined(value: Any, separator: str = ",") -> str:
    if isinstance(value, list):
        return separator.join(map(_text, value))
    if isinstance(value, dict):
        return separator.join(part for pair in value.items() for part in map(_text, pair))
    return _text(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _sign(
    document: Document, operation: Operation, auth: Mapping[str, str], ctx: ToolContext, request: Request,
    cookies: dict[str, str],
) -> None:  # fmt: skip
    """Adds what the first alternative wants that we have. Raises ToolFailed when there is none."""
    if not operation.security:
        return
    wanted = next((names for names in operation.security if all(name in auth for name in names)), None)
    if wanted is None:
        missing = " or ".join(" and ".join(names) for names in operation.security)
        raise ToolFailed(f"{operation.spec.name} wants {missing}: give it in auth={{…}} of {document.name}")
    for name in wanted:
        scheme, value = document.schemes.get(name, {}), expanded(auth[name], ctx.tenant)
        kind = scheme.get("type")
        if kind == "apiKey" and scheme.get("in") == "query":
            request.query.append((scheme["name"], value))
        elif kind == "apiKey" and scheme.get("in") == "cookie":
            cookies[scheme["name"]] = value
        elif kind == "apiKey":
            request.headers[scheme.get("name", name)] = value
        elif kind == "http" and str(scheme.get("scheme", "")).lower() == "basic":
            request.headers["Authorization"] = f"Basic {b64encode(value.encode()).decode()}"
        elif kind in ("http", "oauth2", "openIdConnect"):
            request.headers["Authorization"] = f"Bearer {value}"
        else:
            raise ToolFailed(f"{operation.spec.name} wants {name}, of a type that is not known: {kind!r}")
