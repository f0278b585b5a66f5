"""Users' own FastStream subscribers: `python -m actors.subscribers MODULE…` runs those that the modules define.

A module defines them on a `faststream.nats.NatsRouter`, whose bodies are msgspec Structs or plain values, or on a
`NatsBroker` of its own, which is run as it is configured. A handler of a router may ask for the client of this process:

    router = NatsRouter()

    @router.subscriber("shop.orders")
    async def on_order(order: Order, client: Annotated[Client, Context()]) -> None:
        await client.tell(account, order.customer, Withdraw(order.amount))

A plain subject is not stored: what is published while nobody listens is gone, and so is what a handler fails on. Give
the subscriber a `stream` and a `durable` name where that matters (FastStream's documentation says how).
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from types import ModuleType

from fast_depends.msgspec import MsgSpecSerializer
from faststream.nats import NatsBroker, NatsRouter

from actors.broker import SturdyBroker
from actors.intake import until_stopped
from runtime import telemetry as telemetries
from runtime.client import Client
from runtime.client.client import DEFAULT_URL
from runtime.errors import Misconfigured, NotConnected
from runtime.modules import load_modules
from runtime.telemetry import logs

_log = logging.getLogger("troupe.subscribers")


def brokers_of(nats_url: str, modules: Sequence[ModuleType]) -> list[NatsBroker]:
    """One broker with the routers of these modules, and the brokers they define themselves.

    Raises Misconfigured when a module defines neither a router nor a broker.
    """
    ours = SturdyBroker(nats_url, "troupe subscribers", _log, serializer=MsgSpecSerializer())
    found: list[NatsBroker] = [ours]
    included: list[NatsRouter] = []
    for module in modules:
        if not subscribes(module):
            raise Misconfigured(f"module {module.__name__!r} defines no NatsRouter and no NatsBroker: nothing to run")
        for value in vars(module).values():
            if isinstance(value, NatsRouter) and value not in included:
                ours.include_router(value)
                included.append(value)
            elif isinstance(value, NatsBroker) and value not in found:
                found.append(value)
    return found


def subscribes(module: ModuleType) -> bool:
    """Whether the module defines a router or a broker."""
    return any(isinstance(value, NatsRouter | NatsBroker) for value in vars(module).values())


async def serve(
    nats_url: str, modules: Sequence[ModuleType], stop: asyncio.Event, *, ready: Callable[[], None] = lambda: None
) -> None:
    """Runs the subscribers of these modules until `stop` is set. Raises Misconfigured, or NotConnected at the start."""
    brokers = brokers_of(nats_url, modules)
    async with await Client.connect(nats_url, name="troupe subscribers") as client:
        brokers[0].context.set_global("client", client)
        try:
            for broker in brokers:
                await broker.start()
            ready()
            await stop.wait()
        finally:
            for broker in brokers:
                await broker.stop()


async def _run(modules: Sequence[ModuleType]) -> None:
    url = os.environ.get("RUNTIME_NATS_URL") or DEFAULT_URL
    line = json.dumps({"subscribers": os.getpid()})
    telemetry = telemetries.from_environment("troupe-subscribers")
    await serve(url, modules, until_stopped(), ready=lambda: print(line, flush=True))
    if telemetry is not None:
        await telemetry.close()


def main(modules: Sequence[str]) -> int:
    """Runs the modules' subscribers until SIGTERM or SIGINT; prints one line of JSON when they listen."""
    try:
        logs.configure()
        asyncio.run(_run(load_modules(modules)))
    except Misconfigured as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except NotConnected as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
