"""An OpenAPI document: its servers, its operations as tools, what it wants of who calls."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urljoin, urlsplit

import msgspec
from msgspec import Struct

from actors.agents.remote import exposed
from actors.models.wire import ToolSpec
from runtime.errors import Misconfigured

METHODS = ("get", "put", "post", "delete", "patch", "head", "options")
JSON = "application/json"
BODY = "body"
SCHEMAS = "#/components/schemas/"

_VARIABLE = re.compile(r"\{([^{}]+)\}")


class BadDocument(Misconfigured):
    """The document cannot be read, is none, or says what cannot be used."""


class Parameter(Struct, frozen=True):
    """A parameter. `argument` is the tool's name of it; `place` is path, query, header or cookie."""

    argument: str
    name: str
    place: str
    style: str
    explode: bool


class Operation(Struct, frozen=True):
    """An operation. `security`: the alternatives of what it wants, each the names of schemes that go together."""

    id: str
    method: str
    path: str
    spec: ToolSpec
    parameters: tuple[Parameter, ...]
    body: str
    security: tuple[tuple[str, ...], ...]


class Document:
    """See the module. `server` is the base URL of all requests."""

    def __init__(self, name: str, source: str, root: dict[str, Any], server: str) -> None:
        self.name = name
        self.source = source
        self.root = root
        self.server = server
        self.schemes: dict[str, dict[str, Any]] = {
            name: self.at(one) for name, one in root.get("components", {}).get("securitySchemes", {}).items()
        }

    def at(self, value: Any) -> Any:
        """What a value is or refers to. Raises BadDocument for what is not in this document."""
        seen = 0
        while isinstance(value, dict) and "$ref" in value:
            reference = str(value["$ref"])
            seen += 1
            if not reference.startswith("#/") or seen > 20:
                raise BadDocument(f"{self.source} refers to {reference!r}: only what is in the document is looked at")
            value = self.root
            for part in reference[2:].split("/"):
                key = part.replace("~1", "/").replace("~0", "~")
                if not isinstance(value, dict) or key not in value:
                    raise BadDocument(f"{self.source} refers to {reference!r}, which is not in it")
                value = value[key]
        return value

    def operations(self) -> list[Operation]:
        """All of them. Raises BadDocument."""
        try:
            found = self._operations()
        except (AttributeError, KeyError, TypeError, RecursionError) as error:
            said = f"{self.source} describes its operations otherwise than OpenAPI does: {error!r}"
            raise BadDocument(said) from error
        names = Counter(one.spec.name for one in found)
        if twice := [one.id for one in found if names[one.spec.name] > 1]:
            raise BadDocument(f"{self.source} has operations that a model could not tell apart: {', '.join(twice)}")
        return found

    def _operations(self) -> list[Operation]:
        found: list[Operation] = []
        for path, item in self.root.get("paths", {}).items():
            if not path.startswith("/"):
                raise BadDocument(f"{self.source} has the path {path!r}: a path begins with a slash")
            shared = self.at(item)
            for method in METHODS:
                if method in shared:
                    found.append(self._operation(path, method, shared[method], shared.get("parameters", [])))
        return found

    def _operation(self, path: str, method: str, said: dict[str, Any], shared: Sequence[Any]) -> Operation:
        id = str(said.get("operationId") or f"{method}_{path}").strip("/")
        declared = {(one["name"], one["in"]): one for one in map(self.at, [*shared, *said.get("parameters", [])])}
        properties: dict[str, Any] = {}
        required: list[str] = []
        parameters: list[Parameter] = []
        for (name, place), one in declared.items():
            argument = f"{name}_{place}" if name in properties or name == BODY else name
            style = one.get("style", "form" if place in ("query", "cookie") else "simple")
            parameters.append(Parameter(argument, name, place, style, one.get("explode", style == "form")))
            content: dict[str, Any] = next(iter(one.get("content", {}).values()), {})
            schema = dict(one.get("schema", content.get("schema", {})))
            properties[argument] = schema | ({"description": one["description"]} if one.get("description") else {})
            if one.get("required") or place == "path":
                required.append(argument)
        body = self.at(said.get("requestBody", {}))
        kind = _kind_of(body.get("content", {}))
        if kind:
            properties[BODY] = body["content"][kind].get("schema", {}) if "json" in kind else {"type": "string"}
            if body.get("required"):
                required.append(BODY)
        about = said.get("summary") or said.get("description") or f"{method.upper()} {path}"
        security = said.get("security", self.root.get("security", []))
        return Operation(
            id, method, path,
            ToolSpec(exposed(self.name, id), str(about), self._schema(properties, required)),
            tuple(parameters), kind, tuple(tuple(one) for one in security),
        )  # fmt: skip

    def _schema(self, properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
        """The schema of the arguments, with the definitions that it refers to and no others."""
        defs: dict[str, Any] = {}
        waiting = list(_references(properties))
        while waiting:
            reference = waiting.pop()
            if not reference.startswith(SCHEMAS):
                raise BadDocument(f"{self.source} refers to {reference!r}: only {SCHEMAS} is looked at for schemas")
            name = reference.removeprefix(SCHEMAS)
            if name not in defs:
                defs[name] = self.at({"$ref": reference})
                waiting += _references(defs[name])
        schema = {"type": "object", "properties": _moved(properties), "additionalProperties": False}
        if required:
            schema["required"] = required
        return schema | ({"$defs": {name: _moved(one) for name, one in defs.items()}} if defs else {})


def parsed(name: str, source: str, text: bytes, servers: Sequence[str]) -> Document:
    """The document that a text is. Raises BadDocument."""
    try:
        root = msgspec.yaml.decode(text, type=dict[str, Any])  # JSON is YAML
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadDocument(f"{source} is no OpenAPI document: {error}") from error
    version = str(root.get("openapi", ""))
    if not version.startswith(("3.0", "3.1")):
        said = version or root.get("swagger") or "none"
        raise BadDocument(f"{source} is no OpenAPI document of version 3.0 or 3.1: it says {said}")
    try:
        server = servers[0] if servers else _server_of(source, root)
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise BadDocument(f"{source} has servers that cannot be read: {error!r}") from error
    if urlsplit(server).scheme not in ("http", "https"):
        raise BadDocument(f"{source} says no server to reach {name} at: give servers=[…]")
    try:
        return Document(name, source, root, server.rstrip("/"))
    except (AttributeError, KeyError, TypeError) as error:
        raise BadDocument(f"{source} is no OpenAPI document: {error!r}") from error


def _server_of(source: str, root: dict[str, Any]) -> str:
    first = (root.get("servers") or [{"url": "/"}])[0]
    variables = first.get("variables", {})
    url = _VARIABLE.sub(lambda found: str(variables.get(found.group(1), {}).get("default", "")), first["url"])
    if not source.startswith(("http://", "https://")):
        return url
    url = urljoin(source, url)
    if urlsplit(url)[:2] != urlsplit(source)[:2]:
        raise BadDocument(f"{source} says that its server is {url}, of another origin: trust it by servers=[…]")
    return url


def _kind_of(content: dict[str, Any]) -> str:
    """The kind of body that is sent: JSON where that is one of them."""
    return next((kind for kind in content if "json" in kind), next(iter(content), ""))


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(reference := value.get("$ref"), str):
            yield reference
        for one in value.values():
            yield from _references(one)
    elif isinstance(value, list):
        for one in value:
            yield from _references(one)


def _moved(value: Any) -> Any:
    """A schema as JSON Schema has it: references into its own definitions, and 3.0's `nullable` as a type."""
    if isinstance(value, list):
        return [_moved(one) for one in value]
    if not isinstance(value, dict):
        return value
    moved = {name: _moved(one) for name, one in value.items() if not (name == "nullable" and isinstance(one, bool))}
    if isinstance(reference := value.get("$ref"), str):
        moved["$ref"] = reference.replace(SCHEMAS, "#/$defs/")
    if value.get("nullable") is True and isinstance(value.get("type"), str):
        moved["type"] = [value["type"], "null"]
    for bound, limit in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(moved.get(bound), bool) and moved.pop(bound) and limit in moved:
            moved[bound] = moved.pop(limit)
    return moved
