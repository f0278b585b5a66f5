"""What all routes share: the link to the broker, who may do what, which kinds there are."""

from __future__ import annotations

import asyncio
import time
from hashlib import blake2b
from typing import TypeVar

import msgspec
from litestar.exceptions import InternalServerException

from gateway.auth import Caller, Gate
from gateway.link import Link
from gateway.responses import AnyRequest, header
from gateway.settings import GatewaySettings
from runtime.client import Client
from runtime.client.failures import address_checked
from runtime.errors import CallFailed, NotConnected
from schemas import headers as h
from schemas.address import check_name
from schemas.wire import Capability

T = TypeVar("T")

JSON = "application/json"
IDEMPOTENCY_KEY = b"idempotency-key"
TRAVELLING = tuple(name.encode() for name in (h.TRACEPARENT, h.TRACESTATE, h.BAGGAGE, h.CONTEXT_PREFIX))
ID_PREFIX = "http-"
MAX_IDEMPOTENCY_KEY = 128
KINDS_TIMEOUT_S = 1.0
KINDS_AGAIN_S = 1.0


class Gateway:
    """One gateway process."""

    def __init__(self, settings: GatewaySettings) -> None:
        """Raises Misconfigured."""
        self.settings = settings
        self.gate = Gate(settings)
        self.link = Link(settings.nats_url, settings.signing_key)
        self.stopping = asyncio.Event()
        """Set when the process is to end: streams say so and close."""
        self._kinds: dict[str, Capability] = {}
        self._methods: set[tuple[str, str]] = set()
        self._kinds_at = -KINDS_AGAIN_S
        self._answered = False
        self._looking = asyncio.Lock()

    async def admit(self, request: AnyRequest) -> tuple[Client, Caller]:
        """The client and the caller of a request. Raises CallFailed or NotConnected."""
        caller = self.gate.admit(request)
        client = self.link.get(caller.tenant)
        return client or await self.link.client(caller.tenant), caller

    async def stop(self) -> None:
        """Ends streams at once, and all other waiting after the grace."""
        self.stopping.set()
        await asyncio.sleep(self.settings.grace_s)
        self.link.give_up()

    async def find_kind(self, client: Client, kind: str) -> Capability | None:
        """The kind's capability; None when no pod can be asked now, so that it may exist.

        Raises CallFailed (unknown_kind) when pods say that there is none.
        """
        found = self._kinds.get(kind)
        if found is not None:
            return found
        await self._look(client)
        found = self._kinds.get(kind)
        if found is None and self._answered:
            raise CallFailed("unknown_kind", f"no pod serves the kind {kind[:80]!r}: see /capabilities")
        return found

    async def check_method(self, client: Client, kind: str, method: str) -> None:
        """Raises CallFailed (unknown_kind, unknown_method) when pods say that there is none.

        The actor would say it too, but a command that is only to be accepted has nobody to hear it.
        """
        if (kind, method) in self._methods:
            return
        capability = await self.find_kind(client, kind)
        with address_checked():
            check_name(method, "method")
        if capability is not None and (kind, method) not in self._methods:
            await self._look(client)
            capability = self._kinds.get(kind)
            if self._answered and capability is not None and (kind, method) not in self._methods:
                known = ", ".join(one.name for one in capability.methods) or "none"
                raise CallFailed("unknown_method", f"the kind {kind!r} has no method {method[:80]!r}; it has {known}")

    async def _look(self, client: Client) -> None:
        """Asks a pod what there is, unless that was done a moment ago."""
        async with self._looking:
            asked_at = time.monotonic()
            if asked_at >= self._kinds_at + KINDS_AGAIN_S:
                try:
                    known: list[Capability] = await client.service(
                        "capabilities", type=list[Capability], timeout_s=KINDS_TIMEOUT_S
                    )
                    self._kinds = {capability.kind: capability for capability in known}
                    self._methods = {(one.kind, method.name) for one in known for method in one.methods}
                    self._answered = True
                except (CallFailed, NotConnected):
                    self._answered = False
                self._kinds_at = time.monotonic()


def gateway_of(request: AnyRequest) -> Gateway:
    """The gateway that a request came to."""
    gateway: Gateway = request.app.state.gateway
    return gateway


async def json_body(request: AnyRequest) -> bytes:
    """The body of a request. Raises CallFailed when it is not declared as JSON, or its sender goes away meanwhile.

    A browser sends a foreign page's request without asking first unless it is declared as JSON, so that is required.
    """
    content_type = header(request, b"content-type")
    if content_type != JSON and (content_type or "").partition(";")[0].strip().lower() != JSON:
        raise CallFailed("bad_request", f"the content type is {content_type!r}: send 'Content-Type: {JSON}'")
    try:
        return await request.body()
    except InternalServerException:  # Litestar's word for it; nobody is there to be answered
        raise CallFailed("bad_request", "the caller went away before its request had arrived") from None


def decoded(body: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """The body as what `decoder` makes of it. Raises CallFailed with the path of what is wrong."""
    if not body.strip():
        raise CallFailed("bad_request", "the body is empty: send a JSON object")
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `")
        raise CallFailed("bad_request", message, path=path.rstrip("`") or "$") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CallFailed("bad_request", f"the body is not valid JSON: {error}") from error


def command_id(request: AnyRequest, caller: Caller, id: str | None) -> str | None:
    """The id of the command that a request is: from its body, its Idempotency-Key, or None to make one.

    One caller's idempotency keys are apart from another's and from all other ids. Raises CallFailed.
    """
    key = header(request, IDEMPOTENCY_KEY)
    if id is not None:
        if key is not None:
            raise CallFailed("bad_request", "the body has an id, and there is an Idempotency-Key: send one of them")
        if id.startswith(ID_PREFIX):
            raise CallFailed("bad_request", f"an id must not begin with {ID_PREFIX!r}", path="$.id")
        if not h.is_id(id):
            raise CallFailed(
                "bad_request", f"an id is 1 to {h.MAX_ID_LENGTH} printable ASCII characters without spaces", path="$.id"
            )
        return id
    if key is None:
        return None
    if not h.is_id(key) or len(key) > MAX_IDEMPOTENCY_KEY:
        raise CallFailed(
            "bad_request",
            f"the Idempotency-Key must be 1 to {MAX_IDEMPOTENCY_KEY} printable ASCII characters without spaces",
        )
    return f"{ID_PREFIX}{scope_of(caller)}-{key}"


def scope_of(caller: Caller) -> str:
    """What tells one caller's ids from another's."""
    return blake2b((caller.principal or "").encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def travelling(request: AnyRequest) -> dict[str, str]:
    """The caller's headers that every hop is to know. Raises CallFailed."""
    found: dict[str, str] = {}
    for name, value in request.scope["headers"]:
        if name.startswith(TRAVELLING):
            found.setdefault(name.decode("latin-1"), value.decode("latin-1"))
    if not found:
        return found
    # W3C's come from proxies and libraries, and may be empty or long: a command is not refused for them.
    own = {name: value for name, value in found.items() if name.startswith(h.CONTEXT_PREFIX)}
    try:
        h.check_travelling(own)
    except ValueError as error:
        raise CallFailed("bad_request", str(error)) from error
    found = h.travelling(own | found)
    if (trace := found.get(h.TRACEPARENT)) is not None and not h.is_id(trace):
        del found[h.TRACEPARENT]
    return found
