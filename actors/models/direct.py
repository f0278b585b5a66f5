"""An endpoint that speaks OpenAI's protocol, asked without litellm: a model `openai/…` whose `api_base` is said.

What litellm does for such an endpoint is to pass the request on; that takes it 5 ms of processor time for a call that
is answered whole, and as much again for each dozen of an answer's pieces (docs/adr/0034). Whatever needs translating
is litellm's: other providers, and OpenAI's own address.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from actors.models.asking import question
from actors.models.gathering import Gathering
from actors.models.model import Garbled, ModelError, RateLimited, Refused, Target, Unavailable, retry_after_s
from actors.models.prices import cost_usd
from actors.models.wire import Completion, Delta, ModelRequest, Usage
from runtime.errors import Misconfigured

if TYPE_CHECKING:
    import httpx

PREFIX = "openai/"

REFUSING = frozenset([400, 401, 403, 404, 405, 413, 415, 422])
"""Statuses with which a server says that the request itself is at fault."""

HOW = frozenset(["api_base", "api_key", "timeout", "num_retries", "max_retries"])
"""Fields of a question that say how it is asked."""

OPTIONS = frozenset([
    "frequency_penalty", "logit_bias", "max_completion_tokens", "max_tokens", "metadata", "parallel_tool_calls",
    "presence_penalty", "reasoning_effort", "seed", "service_tier", "stop", "store", "temperature", "tool_choice",
    "top_p", "user", "verbosity",
])  # fmt: skip
"""Options that the protocol has. Others are litellm's own."""

MOST_CONNECTIONS = 1000
MAX_EVENT_BYTES = 16 * 1024**2
SHOWN_BYTES = 500


class _Function(Struct):
    name: str | None = None
    arguments: str | None = None


class _Piece(Struct):
    index: int = 0
    id: str | None = None
    function: _Function | None = None


class _Delta(Struct):
    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[_Piece] | None = None


class _Choice(Struct):
    delta: _Delta = msgspec.field(default_factory=_Delta)
    finish_reason: str | None = None


class _Counted(Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Chunk(Struct):
    choices: list[_Choice] = []
    model: str | None = None
    usage: _Counted | None = None
    error: msgspec.Raw | None = None


_decode_chunk = msgspec.json.Decoder(_Chunk).decode
_encode = msgspec.json.Encoder().encode


def is_direct(target: Target) -> bool:
    """Whether a target is such an endpoint."""
    return target.api_base is not None and target.model.startswith(PREFIX) and target.options.keys() <= OPTIONS


class Direct:
    """The model of a Target, by HTTP."""

    def __init__(self) -> None:
        try:
            import httpx  # noqa: PLC0415  # only what asks a model needs it
        except ImportError as error:
            raise Misconfigured("models need httpx: pip install 'troupe[agents]'") from error
        self._httpx = httpx
        self._clients: dict[asyncio.AbstractEventLoop, tuple[httpx.AsyncClient, AsyncGenerator[None, None]]] = {}

    async def stream(self, target: Target, request: ModelRequest) -> AsyncGenerator[Delta | Completion, None]:
        """See Model."""
        gathering = Gathering(target.model)
        try:
            async with aclosing(self._events(target, request)) as events:
                async for event in events:
                    chunk = _decode_chunk(event)
                    if chunk.error is not None:
                        raise Unavailable(target.model, f"failed in the middle: {_shown(bytes(chunk.error))}")
                    for delta in gathering.take(chunk):
                        yield delta
        except self._httpx.TimeoutException as error:
            raise Unavailable(target.model, f"did not answer in time: {error!r}", late=True) from error
        except (self._httpx.HTTPError, self._httpx.InvalidURL) as error:
            raise Unavailable(target.model, f"cannot be reached: {error!r}") from error
        except UnicodeEncodeError as error:
            raise Refused(target.model, f"cannot be asked this: {error}") from error
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Garbled(target.model, f"answered with what is no answer: {error}") from error
        message, counted = gathering.whole(), gathering.counted
        usage = Usage()
        if counted is not None:
            usage = Usage(counted.prompt_tokens, counted.completion_tokens)
            usage = replace(usage, cost_usd=cost_usd(target.model, usage.prompt_tokens, usage.completion_tokens))
        yield Completion(message, gathering.name, gathering.finish, usage)

    async def _events(self, target: Target, request: ModelRequest) -> AsyncGenerator[bytes, None]:
        """The data of each event of the answer's stream. Raises ModelError, and httpx's errors."""
        asked = question(target, request)
        key, base = asked["api_key"], str(target.api_base).rstrip("/")
        asked = {name: value for name, value in asked.items() if name not in HOW} | {
            "model": target.model.removeprefix(PREFIX)
        }
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        client, url = await self._client(), f"{base}/chat/completions"
        sending = client.stream("POST", url, content=_encode(asked), headers=headers, timeout=target.timeout_s)
        async with sending as response:
            if response.status_code != 200:
                raise _failure(target.model, response, await response.aread())
            async for line in _lines(response.aiter_bytes(), target.model):
                if line.startswith(b"data:"):
                    data = line[5:].strip()
                    if data == b"[DONE]":
                        return
                    yield data

    async def _client(self) -> httpx.AsyncClient:
        """That of the event loop that runs: connections belong to one."""
        loop = asyncio.get_running_loop()
        if loop not in self._clients:
            for other in [one for one in self._clients if one.is_closed()]:
                del self._clients[other]
            limits = self._httpx.Limits(max_connections=MOST_CONNECTIONS, max_keepalive_connections=MOST_CONNECTIONS)
            client = self._httpx.AsyncClient(limits=limits)
            held = _until_the_loop_ends(client)
            await anext(held)
            self._clients[loop] = client, held
        return self._clients[loop][0]


async def _until_the_loop_ends(client: httpx.AsyncClient) -> AsyncGenerator[None, None]:
    """A loop that is shut down closes the generators that it has begun, and so this one its client."""
    try:
        yield
    finally:
        await client.aclose()


async def _lines(parts: AsyncIterator[bytes], model: str) -> AsyncGenerator[bytes, None]:
    rest = b""
    async for part in parts:
        *lines, rest = (rest + part).split(b"\n")
        if len(rest) > MAX_EVENT_BYTES:
            raise Garbled(model, f"answered with an event of more than {MAX_EVENT_BYTES} bytes")
        for line in lines:
            yield line
    if rest:
        yield rest


def _failure(model: str, response: Any, body: bytes) -> ModelError:
    status: int = response.status_code
    said = f"(status {status}) {_shown(body)}"
    if status == 429:
        return RateLimited(model, f"is asked too often: {said}", retry_after_s(response.headers))
    if status in REFUSING:
        return Refused(model, f"refuses the request: {said}")
    return Unavailable(model, f"cannot be reached: {said}")


def _shown(body: bytes) -> str:
    return " ".join(body.decode("utf-8", "replace").split())[:SHOWN_BYTES]
