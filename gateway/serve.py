"""The process: `python -m gateway [--host H] [--port P]`.

Prints one line of JSON when it listens ({"url": …, "pid": …}), ends in order on SIGTERM or SIGINT with exit code 0, and
with 2 when it is misconfigured. It starts without a broker, and says so at /ready.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import uvicorn
from litestar import Litestar
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.app import create_app
from gateway.context import Gateway
from gateway.settings import GatewaySettings, from_environment
from gateway.sinks import ABORT
from runtime import telemetry as telemetries
from runtime.errors import Misconfigured
from runtime.garbage import collect_rarely
from runtime.telemetry import logs

BACKLOG = 2048

_log = logging.getLogger("troupe.gateway")


class Protocol(HttpToolsProtocol):
    """HTTP/1.1 as uvicorn does it; a response may end its connection when its reader is stuck."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {ABORT: {"now": self.transport.abort}}


class Server(uvicorn.Server):
    """A server that tells its gateway to end before it waits for requests in flight."""

    def __init__(self, config: uvicorn.Config, gateway: Gateway, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._gateway = gateway
        self._ready = ready

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Ends on SIGTERM and SIGINT; uvicorn would then raise the signal again, and exit with it instead of 0."""
        former = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts, and says so."""
        await super().startup(sockets)
        if self.started:
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Ends streams at once, waits for requests, and lets those that still wait at the end go with what is known."""
        stopping = asyncio.ensure_future(self._gateway.stop())
        try:
            await super().shutdown(sockets)
        finally:
            stopping.cancel()


def serve(settings: GatewaySettings, ready: Callable[[str], None] | None = None) -> int:
    """Serves until a signal ends the process, and returns its exit code.

    `ready` is called with the URL once requests are answered. Raises Misconfigured.
    """
    app = create_app(settings)
    telemetry = telemetries.from_environment("troupe-gateway")
    listener = _listen(settings)
    host, port = listener.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    config = uvicorn.Config(
        _traced(app, telemetry),
        loop="uvloop",
        http=Protocol,
        ws="wsproto",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,  # nothing here depends on who a proxy says it speaks for
        timeout_keep_alive=75,
        # Requests are let go after the grace; this is for what even then does not end.
        timeout_graceful_shutdown=int(settings.grace_s) + 5,
    )
    server = Server(config, app.state.gateway, lambda: ready(url) if ready is not None else None)
    collect_rarely()
    _allow_files()
    server.run(sockets=[listener])
    if telemetry is not None:
        asyncio.run(telemetry.close())
    return 0 if server.started else 1


def _traced(app: Litestar, telemetry: telemetries.Telemetry | None) -> Any:
    """The application, each of whose requests is a span if traces are on."""
    if telemetry is None or telemetry.tracer is None:
        return app
    from runtime.telemetry.http import TracedApp  # noqa: PLC0415  # imports OpenTelemetry

    return TracedApp(app, telemetry.tracer)


def _listen(settings: GatewaySettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        raise Misconfigured(
            f"the gateway cannot listen on {settings.host} port {settings.port}: {error.strerror}; choose another with "
            "--port or RUNTIME_GATEWAY_PORT"
        ) from error
    listener.listen(BACKLOG)
    return listener


def _allow_files() -> None:
    """As many open files, and so readers, as the system lets this process have: usually it starts with 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    except (ValueError, OSError) as error:
        _log.warning("the limit of open files stays as it is: %s", error)


def announce(url: str) -> None:
    """Prints where the gateway listens, as one line of JSON."""
    print(json.dumps({"url": url, "pid": os.getpid()}), flush=True)  # what programs wait for


def main(arguments: Sequence[str]) -> int:
    """Serves as the command line and the environment say."""
    parser = argparse.ArgumentParser("gateway", description="HTTP in, broker messages out, streams back.")
    parser.add_argument("--host", help="the address to listen on; anything but loopback needs RUNTIME_API_KEYS_FILE")
    parser.add_argument("--port", type=int, help="the port; 0 takes a free one")
    parser.add_argument("--nats-url", help="the broker; else RUNTIME_NATS_URL")
    given: dict[str, Any] = vars(parser.parse_args(arguments))
    try:
        logs.configure()
        return serve(from_environment(**given), announce)
    except Misconfigured as error:
        print(f"error: {error}", file=sys.stderr)  # an answer to whoever typed the command
        return 2
