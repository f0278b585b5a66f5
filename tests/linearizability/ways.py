"""The ways an operation reaches an actor, and what its outcome is in each: an answer, a refusal, or not known."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, Self

import httpx
import nats
import nats.errors
from nats.aio.client import Client as Nats

from runtime.client import Client
from runtime.errors import CallFailed, NotConnected, Rejected
from schemas.address import Address
from schemas.wire import Failure
from tests.chaos.raw import RawCaller
from tests.linearizability.models import REJECTED

TENANT = "default"
COMMANDS = ("ask", "raw", "http", "submit")
READS = ("query", "query", "query", "front", "http", "ask")
"""A query answered by the owner from memory is what can be stale: it has the largest share."""

OPEN = frozenset({"unavailable", "timeout", "stream_full", "too_many_requests"})
"""Codes that leave it open whether the command was or will be done."""

POLL_S = 5.0


class Call(NamedTuple):
    """One operation to be sent. `id` stays the same for as long as it is repeated."""

    kind: str
    key: str
    method: str
    args: dict[str, Any]
    id: str
    timeout_s: float


class Outcome(NamedTuple):
    """`known` says whether it was answered; `result` is the answer then."""

    known: bool
    result: Any = None


UNKNOWN = Outcome(False)


class Failed(AssertionError):
    """An actor answered what none of these actors may answer."""


class Ways:
    """All of them, for one run."""

    def __init__(self, client: Client, raw: RawCaller, connection: Nats, http: httpx.AsyncClient) -> None:
        self._client = client
        self._raw = raw
        self._connection = connection
        self._http = http
        self._ways: dict[str, Callable[[Call], Awaitable[Outcome]]] = {
            "ask": self._ask,
            "raw": self._plain,
            "http": self._intent,
            "submit": self._submit,
            "query": self._query,
            "front": self._front,
        }

    @classmethod
    async def open(cls, nats_url: str, gateway_url: str) -> Self:
        """Connects."""

        async def ignore(error: Exception) -> None:
            """The broker is killed on purpose."""

        connection = await nats.connect(nats_url, max_reconnect_attempts=-1, reconnect_time_wait=0.1, error_cb=ignore)
        limits = httpx.Limits(max_connections=None)
        http = httpx.AsyncClient(base_url=gateway_url, timeout=60.0, limits=limits, trust_env=False)
        return cls(await Client.connect(nats_url), await RawCaller.connect(nats_url, (TENANT,)), connection, http)

    async def close(self) -> None:
        """Closes every connection."""
        await self._http.aclose()
        await self._raw.close()
        await self._connection.close()
        await self._client.close()

    async def send(self, way: str, call: Call) -> Outcome:
        """What came of it. Raises Failed for an answer that is wrong whatever the state is."""
        try:
            return await self._ways[way](call)
        except Rejected:
            return Outcome(True, REJECTED)
        except CallFailed as error:
            if error.code not in OPEN:
                raise Failed(f"{call} by {way}: {error}") from error
            return UNKNOWN
        except (NotConnected, TimeoutError, nats.errors.Error, httpx.TransportError):
            return UNKNOWN

    async def _ask(self, call: Call) -> Outcome:
        kind, key, method, args, id_, timeout_s = call
        return Outcome(True, await self._client.ask(kind, key, method, args, id=id_, timeout_s=timeout_s))

    async def _plain(self, call: Call) -> Outcome:
        body = json.dumps(call.args).encode()
        address = Address(TENANT, call.kind, call.key)
        reply = await self._raw.call(address, call.method, body, call.id, call.timeout_s)
        return _answered(reply.error, reply.result)

    async def _submit(self, call: Call) -> Outcome:
        kind, key, method, args, id_, timeout_s = call
        run = await self._client.submit(kind, key, method, args, id=id_, timeout_s=timeout_s)
        return Outcome(True, await self._client.run(run.id).result(timeout_s=timeout_s))

    async def _query(self, call: Call) -> Outcome:
        kind, key, method, args, _, timeout_s = call
        return Outcome(True, await self._client.query(kind, key, method, args or None, timeout_s=timeout_s))

    async def _front(self, call: Call) -> Outcome:
        subject = f"call.{TENANT}.{call.kind}.{call.key}.{call.method}"
        body = json.dumps(call.args).encode()
        answer = json.loads((await self._connection.request(subject, body, timeout=call.timeout_s)).data)
        error = answer.get("error")
        return _answered(error and Failure(error["code"], error["message"]), json.dumps(answer["result"]).encode())

    async def _intent(self, call: Call) -> Outcome:
        kind, key, method, args, id_, timeout_s = call
        body = {"kind": kind, "key": key, "method": method, "args": args, "id": id_, "wait_s": min(timeout_s, 60.0)}
        response = await self._http.post("/intent", json=body)
        if response.status_code == 202:
            async with asyncio.timeout(timeout_s):
                return await self._poll(response.json()["run_id"])
        return _of_http(response)

    async def _poll(self, run_id: str) -> Outcome:
        while True:
            response = await self._http.get(f"/runs/{run_id}", params={"wait_s": POLL_S})
            found = response.json()
            if response.status_code != 200:
                return _of_http(response)
            if found["status"] not in ("pending", "accepted"):
                error = found.get("error")
                failure = error and Failure(error["code"], error["message"])
                return _answered(failure, json.dumps(found.get("result")).encode())


def _of_http(response: httpx.Response) -> Outcome:
    document = response.json()
    if response.status_code == 200:
        return Outcome(True, document["result"])
    return _answered(Failure(document["error"]["code"], document["error"]["message"]), b"null")


def _answered(failure: Failure | None, result: Any) -> Outcome:
    if failure is None:
        return Outcome(True, json.loads(bytes(result)))
    if failure.code == "rejected":
        return Outcome(True, REJECTED)
    raise CallFailed(failure.code, failure.message)
