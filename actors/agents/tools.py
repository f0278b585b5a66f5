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

import abc
import asyncio
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

import msgspec
from msgspec import Struct

from actors.agents.describing import described, schema_of
from actors.models.wire import ToolSpec
from runtime.arguments import Arguments, InvalidArguments, hints_of
from runtime.errors import BadDefinition
from runtime.policy import RetryPolicy

if TYPE_CHECKING:
    from actors.agents.carrying import Locked

MAX_RESULT_BYTES = 65_536
"""More of a tool's result no model is told."""

MAX_NAME = 64
"""Characters of a tool's name that models take."""

ONCE = RetryPolicy(max_attempts=1)

Confirmation = bool | Callable[[dict[str, Any]], bool]


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
    tenant: str = "default"


class BadCall(Exception):
    """The model's arguments do not fit the tool: it is told so, and may try again."""


class Tool(abc.ABC):
    """What a model may call, carried out within a step. For what is not said here see `tool`.

    Attributes:
        spec: what the model is told of it.
    """

    def __init__(
        self,
        spec: ToolSpec,
        *,
        timeout_s: float | None = 60.0,
        retry: RetryPolicy = ONCE,
        lock: bool = False,
        confirmation: Confirmation = False,
        required_roles: tuple[str, ...] = (),
    ) -> None:
        self.spec = spec
        self.name = spec.name
        self.timeout_s = timeout_s
        self.retry = retry
        self.lock = lock
        self.confirmation = confirmation
        self.required_roles = required_roles
        self.locked: Locked | None = None
        """The function that carries it out, made by the first agent that has it, where it has a lock."""

    @abc.abstractmethod
    def decode(self, arguments: str) -> dict[str, Any]:
        """What it is called with, of the model's arguments as JSON. Raises BadCall."""

    @abc.abstractmethod
    async def call(self, given: Mapping[str, Any], ctx: ToolContext) -> Any:
        """Carries it out with decoded arguments. Raises what it fails with.

        What is told of an async iterator is the list of what it gives.
        """

    def asks_first(self, given: dict[str, Any]) -> bool:
        """Whether a person is to approve a call with these arguments."""
        return self.confirmation(given) if callable(self.confirmation) else self.confirmation


class Toolset(abc.ABC):
    """Tools of which it is known only when they are asked for which ones there are."""

    @abc.abstractmethod
    async def specs(self) -> list[ToolSpec]:
        """What a model is told of them now; within a step."""

    @abc.abstractmethod
    def find(self, name: str) -> Tool | None:
        """The tool of that name, without asking anybody; None for one that is none of these."""


class FunctionTool(Tool):
    """A function as a tool. For the arguments see `tool`."""

    def __init__(
        self,
        fn: Callable[..., Any],
        *,
        name: str | None = None,
        description: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        fixed: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        self.fn = fn
        name = name or str(getattr(fn, "__name__", type(fn).__name__))
        self._fixed = dict(fixed or {})
        hints = hints_of(fn)
        given = list(inspect.signature(fn).parameters.values())
        self._context = next((one.name for one in given if hints.get(one.name) is ToolContext), None)
        if unknown := self._fixed.keys() - {one.name for one in given}:
            raise BadDefinition(f"tool {name!r} has no parameter {', '.join(sorted(unknown))} to fix")
        asked = [one for one in given if one.name != self._context and one.name not in self._fixed]
        # By name alone: a model's arguments are an object, also those of a tool with one parameter that is a Struct.
        self._names = [one.name for one in asked]
        self._arguments = Arguments(fn, asked, hints)
        about, texts = described(inspect.getdoc(fn) or "")
        schema = dict(parameters) if parameters is not None else schema_of(self._arguments, texts)
        super().__init__(ToolSpec(name, description if description is not None else about, schema), **options)

    def decode(self, arguments: str) -> dict[str, Any]:
        """See Tool."""
        try:
            payload = self._arguments.decode(arguments.encode("utf-8", "surrogatepass"))
        except InvalidArguments as error:
            where = f", at {error.path}" if error.path else ""
            raise BadCall(f"the arguments of {self.name} do not fit: {error}{where}") from error
        return dict(zip(self._names, self._arguments.spread(payload), strict=True))

    @property
    def generates(self) -> bool:
        """Whether it gives several values, one after the other."""
        return inspect.isasyncgenfunction(self.fn)

    def named(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments by place and by name, by name alone. Raises BadCall."""
        if len(args) > len(self._names) or (twice := set(self._names[: len(args)]) & kwargs.keys()):
            wrong = f"{', '.join(sorted(twice))} twice" if len(args) <= len(self._names) else f"{len(args)} by place"
            raise BadCall(f"the arguments of {self.name} do not fit: it takes {', '.join(self._names)}; given {wrong}")
        return {**dict(zip(self._names, args, strict=False)), **kwargs}

    async def call(self, given: Mapping[str, Any], ctx: ToolContext) -> Any:
        """Calls the function, a plain one in a thread. Raises what it raises."""
        asked = {**self._fixed, **given}
        if self._context is not None:
            asked[self._context] = ctx
        if inspect.iscoroutinefunction(self.fn):
            return await self.fn(**asked)
        if inspect.isasyncgenfunction(self.fn):
            return self.fn(**asked)
        value = await asyncio.to_thread(self.fn, **asked)
        return await value if inspect.isawaitable(value) else value


@overload
def tool(fn: Callable[..., Any], /) -> FunctionTool: ...
@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    timeout_s: float | None = 60.0,
    retry: RetryPolicy = ONCE,
    lock: bool = False,
    confirmation: Confirmation = False,
    required_roles: tuple[str, ...] = (),
    **fixed: Any,
) -> Callable[[Callable[..., Any]], FunctionTool]: ...
def tool(fn: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Makes a tool of a function, `async` or plain.

    Args:
        description, parameters: what the model is told, in place of docstring and annotations (a JSON Schema).
        timeout_s: of one try. `retry`: how often what it raises is tried again before the model is told of it.
        lock: one call of a tenant goes on at a time, over all pods and through crashes: it is a function of its own.
        confirmation: a person approves each call first (one of `required_roles`, if there are any), or those for whose
            arguments this gives True; it sees them alone, and gives the same each time.
        fixed: arguments that are the same in every call, and that the model is not told of.
    """
    own = ("name", "description", "parameters", "timeout_s", "retry", "lock", "confirmation", "required_roles")
    known = {name: options.pop(name) for name in tuple(options) if name in own}

    def make(fn: Callable[..., Any]) -> FunctionTool:
        return FunctionTool(fn, **known, fixed=options)

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
