"""Tools that a model may call.

    @tool
    async def refund(order: str, amount: float, ctx: ToolContext) -> str:
        \"\"\"Gives the money of an order back.

        Args:
            order: its number.
        \"\"\"

What the model is told of it is made of its name, its docstring and its annotations. `ctx` is not the model's to give.
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, overload

import msgspec
from msgspec import Struct

from actors.models.wire import ToolSpec
from runtime.arguments import Arguments, InvalidArguments, hints_of
from runtime.errors import BadDefinition
from runtime.kind import Kind
from runtime.policy import RetryPolicy

MAX_RESULT_BYTES = 65_536
"""More of a tool's result no model is told."""

ONCE = RetryPolicy(max_attempts=1)

_ARGUMENT = re.compile(r"^\s*(\w+)\s*(?:\([^)]*\))?:\s*(.*)$")


class ToolContext(Struct, frozen=True):
    """Who calls a tool, and for whom.

    Attributes:
        key: the same each time this very call is tried again: to be handed to the outside as its idempotency key.
    """

    agent: str
    session: str
    run: str
    key: str
    principal: str | None = None
    roles: tuple[str, ...] = ()


class BadCall(Exception):
    """The model's arguments do not fit the tool: it is told so, and may try again."""


class Tool:
    """A function as a tool. For the arguments see `tool`."""

    def __init__(
        self,
        fn: Callable[..., Any],
        *,
        name: str | None = None,
        description: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        timeout_s: float | None = 60.0,
        retry: RetryPolicy = ONCE,
        lock: bool = False,
        confirmation: bool = False,
        required_roles: tuple[str, ...] = (),
        fixed: Mapping[str, Any] | None = None,
    ) -> None:
        self.fn = fn
        self.name: str = name or str(getattr(fn, "__name__", type(fn).__name__))
        self.timeout_s = timeout_s
        self.retry = retry
        self.confirmation = confirmation
        self.required_roles = required_roles
        self._lock = asyncio.Lock() if lock else None
        self._fixed = dict(fixed or {})
        hints = hints_of(fn)
        given = list(inspect.signature(fn).parameters.values())
        self._context = next((one.name for one in given if hints.get(one.name) is ToolContext), None)
        if unknown := self._fixed.keys() - {one.name for one in given}:
            raise BadDefinition(f"tool {self.name!r} has no parameter {', '.join(sorted(unknown))} to fix")
        asked = [one for one in given if one.name != self._context and one.name not in self._fixed]
        # By name alone: a model's arguments are an object, also those of a tool with one parameter that is a Struct.
        self._names = [one.name for one in asked]
        self._arguments = Arguments(fn, asked, hints)
        about, described = _described(inspect.getdoc(fn) or "")
        schema = dict(parameters) if parameters is not None else _schema(self._arguments, described)
        self.spec = ToolSpec(self.name, description if description is not None else about, schema)

    def decode(self, arguments: str) -> dict[str, Any]:
        """What the function is called with, of the model's arguments as JSON. Raises BadCall."""
        try:
            payload = self._arguments.decode(arguments.encode("utf-8", "surrogatepass"))
        except InvalidArguments as error:
            where = f", at {error.path}" if error.path else ""
            raise BadCall(f"the arguments of {self.name} do not fit: {error}{where}") from error
        return dict(zip(self._names, self._arguments.spread(payload), strict=True))

    async def call(self, arguments: str, ctx: ToolContext) -> Any:
        """Calls the function, a plain one in a thread. Raises BadCall, and what it raises."""
        given = self._fixed | self.decode(arguments)
        if self._context is not None:
            given[self._context] = ctx
        if self._lock is None:
            return await self._called(given)
        async with self._lock:
            return await self._called(given)

    async def _called(self, given: dict[str, Any]) -> Any:
        if inspect.iscoroutinefunction(self.fn):
            return await self.fn(**given)
        value = await asyncio.to_thread(self.fn, **given)
        return await value if inspect.isawaitable(value) else value


class Hosted:
    """A method of another actor as a tool. Its arguments are the method's, and `key` which actor, unless that is given.

    Made by `hosted`.
    """

    def __init__(self, kind: Kind | str, method: str, spec: ToolSpec, key: str | None) -> None:
        self.kind = kind
        self.method = method
        self.spec = spec
        self.key = key
        self.name = spec.name


def hosted(
    kind: Kind, method: str, *, key: str | None = None, name: str | None = None, description: str | None = None
) -> Hosted:
    """Another actor's method as a tool: it is a command of that actor's own, done once, whatever dies meanwhile."""
    known = kind.methods.get(method)
    if known is None:
        raise BadDefinition(f"kind {kind.name!r} has no method {method!r} to be a tool")
    schema = _plain(known.arguments.schema())
    if key is None:
        properties = {"key": {"type": "string", "description": f"which {kind.name}"}, **schema.get("properties", {})}
        schema = schema | {"properties": properties, "required": ["key", *schema.get("required", ())]}
    about, _ = _described(inspect.getdoc(known.handler) or "")
    spec = ToolSpec(name or f"{kind.name}_{method}", description if description is not None else about, schema)
    return Hosted(kind, method, spec, key)


@overload
def tool(fn: Callable[..., Any], /) -> Tool: ...
@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    timeout_s: float | None = 60.0,
    retry: RetryPolicy = ONCE,
    lock: bool = False,
    confirmation: bool = False,
    required_roles: tuple[str, ...] = (),
    **fixed: Any,
) -> Callable[[Callable[..., Any]], Tool]: ...
def tool(fn: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Makes a tool of a function, `async` or plain.

    Args:
        description, parameters: what the model is told, in place of docstring and annotations (a JSON Schema).
        timeout_s: of one try. `retry`: how often what it raises is tried again before the model is told of it.
        lock: one call at a time in this process.
        confirmation: a person approves each call first (one of `required_roles`, if there are any).
        fixed: arguments that are the same in every call, and that the model is not told of.
    """
    known = {
        name: options.pop(name)
        for name in tuple(options)
        if name in ("name", "description", "parameters", "timeout_s", "retry", "lock", "confirmation", "required_roles")
    }

    def make(fn: Callable[..., Any]) -> Tool:
        return Tool(fn, **known, fixed=options)

    return make if fn is None else make(fn)


def told(value: Any) -> str:
    """A tool's result as a model is told it. Bytes are told of by their number alone."""
    if isinstance(value, bytes):
        return f"{len(value)} bytes, which are no text"
    text = value if isinstance(value, str) else msgspec.json.encode(value, enc_hook=str).decode()
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= MAX_RESULT_BYTES:
        return encoded.decode()
    cut = encoded[:MAX_RESULT_BYTES].decode("utf-8", "ignore")
    return f"{cut}\n[cut: {len(encoded)} bytes in all]"


def _described(doc: str) -> tuple[str, dict[str, str]]:
    """What a docstring says of the function, and of its arguments by name."""
    about, _, rest = doc.partition("Args:")
    arguments: dict[str, str] = {}
    for line in rest.splitlines():
        if line and not line.startswith(" "):
            break
        if found := _ARGUMENT.match(line):
            arguments[found.group(1)] = found.group(2).strip()
    return about.partition("Returns:")[0].strip(), arguments


def _schema(arguments: Arguments, described: Mapping[str, str]) -> dict[str, Any]:
    schema = _plain(arguments.schema())
    for name, text in described.items():
        if name in schema.get("properties", {}):
            schema["properties"][name] = {**schema["properties"][name], "description": text}
    return schema


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema of an object whose first reference is in its place: models expect `properties` at the top."""
    defs = dict(schema.get("$defs", {}))
    if "$ref" in schema:
        schema = dict(defs.pop(schema["$ref"].rpartition("/")[2]))
        if defs:
            schema["$defs"] = defs
    schema = {name: value for name, value in schema.items() if name != "title"}
    return {"type": "object", "properties": {}} | schema


