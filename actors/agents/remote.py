"""What tools have in common that somebody else describes: their names, their arguments, the secrets they need."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Awaitable, Callable, Collection, Mapping
from hashlib import blake2b
from typing import Any, TypeVar

import jsonschema
import msgspec
from referencing import Registry
from referencing.exceptions import Unresolvable

from actors.agents.tools import MAX_NAME, BadCall, Tool, ToolContext
from actors.models.wire import ToolSpec
from runtime.ambient.secrets import Secrets
from runtime.errors import Rejected

T = TypeVar("T")

MAX_TELL = 2000
"""Characters of somebody else's error that a model is told."""

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]+")
_SECRET = re.compile(r"\$\{([^}]*)\}")


class ToolFailed(Rejected):
    """What was called says that it failed: the model is told, and nothing is tried again."""


def exposed(server: str, name: str) -> str:
    """The name under which a model knows a tool of a server: of a long one its beginning, and a digest of it all."""
    whole = f"{server}__{_NOT_IN_NAMES.sub('_', name)}"
    if len(whole) <= MAX_NAME:
        return whole
    digest = blake2b(name.encode("utf-8", "replace"), digest_size=4).hexdigest()
    return f"{whole[: MAX_NAME - len(digest) - 1]}_{digest}"


def named(name: str, server: str, those: bool | Collection[str]) -> bool:
    """Whether a tool, by the name that a model knows, is one of those that are named as the server does."""
    return those if isinstance(those, bool) else name in {exposed(server, one) for one in those}


class RemoteTool(Tool):
    """A tool of which it is known only where it is called what its arguments must be."""

    def __init__(
        self, name: str, called: Callable[[Mapping[str, Any], ToolContext], Awaitable[str]], **options: Any
    ) -> None:
        super().__init__(ToolSpec(name, "", {}), **options)
        self._called = called

    def decode(self, arguments: str) -> dict[str, Any]:
        """See Tool."""
        return decoded(self.name, arguments)

    async def call(self, given: Mapping[str, Any], ctx: ToolContext) -> str:
        """See Tool."""
        return await self._called(given, ctx)


def decoded(name: str, arguments: str) -> dict[str, Any]:
    """A model's arguments. Raises BadCall when they are no JSON object."""
    try:
        return msgspec.json.decode(arguments or "{}", type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        raise BadCall(f"the arguments of {name} are no JSON object: {error}") from error


def check(name: str, schema: dict[str, Any], given: dict[str, Any]) -> None:
    """Raises BadCall, which names the place, when arguments do not fit a JSON Schema. Nothing is fetched for it."""
    validator = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        error = jsonschema.exceptions.best_match(validator(schema, registry=Registry()).iter_errors(given))
    except (jsonschema.SchemaError, Unresolvable, RecursionError) as wrong:
        raise ToolFailed(f"the schema of {name} cannot be used: {wrong}") from wrong
    if error is not None:
        raise BadCall(f"the arguments of {name} do not fit: {error.message[:MAX_TELL]}, at {error.json_path}")


def expanded(text: str, tenant: str) -> str:
    """A text with `${name}` replaced by the secret of that name. Raises MissingSecret."""
    return _SECRET.sub(lambda found: Secrets(tenant)[found.group(1)].reveal(), text)


# -- the loop of connections ------------------------------------------------------------------------------------------

_starting = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


async def on_loop(job: Callable[[], Awaitable[T]]) -> T:
    """Runs a job on the loop that holds this process's connections: handlers come and go with loops of their own."""
    global _loop
    with _starting:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            threading.Thread(target=_loop.run_forever, name="troupe-remote", daemon=True).start()

    async def done() -> T:
        return await job()

    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(done(), _loop))
