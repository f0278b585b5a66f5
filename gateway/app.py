"""The application: its routes, its errors, its beginning and end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from litestar import Litestar
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin

from gateway.actors import ROUTES as ACTORS
from gateway.agui import ROUTES as AGUI
from gateway.approvals import ROUTES as APPROVALS
from gateway.context import Gateway
from gateway.controls import cancel_run, fork_run, restart_run, retry_run, signal_run, terminate_run, update_run
from gateway.dead import drop_dead_letter, get_dead, get_dead_letter, replay_dead_letter
from gateway.docs import get_docs, get_openapi
from gateway.errors import on_exception
from gateway.intent import invoke, post_intent, post_run, signal_with_start
from gateway.playground import routes as playground
from gateway.ready import get_health, get_ready
from gateway.runs import get_capabilities, get_functions, get_run, get_runs, get_timeline
from gateway.schedules import ROUTES as SCHEDULES
from gateway.sessions import get_log
from gateway.settings import GatewaySettings
from gateway.sockets import socket_stream
from gateway.streams import get_stream
from gateway.tokens import ROUTES as TOKENS
from runtime.version import VERSION

DESCRIPTION = """\
Calls event-sourced actors. Every error has the body {"error": {"code", "message", "path", "details"}}. One whose code
is `unavailable`, `stream_full`, `too_many_requests` or `timeout` may be sent again with the same id."""


def create_app(settings: GatewaySettings) -> Litestar:
    """The ASGI application of one gateway. Raises Misconfigured."""
    gateway = Gateway(settings)

    @asynccontextmanager
    async def linked(app: Litestar) -> AsyncIterator[None]:
        gateway.link.start()
        try:
            yield
        finally:
            gateway.stopping.set()
            await gateway.link.close()

    app = Litestar(
        [
            post_intent,
            post_run,
            invoke,
            signal_with_start,
            get_runs,
            get_run,
            get_timeline,
            signal_run,
            update_run,
            cancel_run,
            terminate_run,
            retry_run,
            fork_run,
            restart_run,
            get_stream,
            get_log,
            socket_stream,
            *AGUI,
            get_dead,
            get_dead_letter,
            replay_dead_letter,
            drop_dead_letter,
            *SCHEDULES,
            *APPROVALS,
            *TOKENS,
            *ACTORS,
            get_capabilities,
            get_functions,
            get_health,
            get_ready,
            get_openapi,
            get_docs,
            *playground(settings),
        ],
        lifespan=[linked],
        exception_handlers={Exception: on_exception},
        request_max_body_size=settings.max_body_bytes,
        openapi_config=OpenAPIConfig(
            "Troupe",
            VERSION,
            description=DESCRIPTION,
            use_handler_docstrings=True,
            path="/docs/derived",  # what Litestar derives; gateway.docs completes it and serves it as /openapi.json
            render_plugins=[JsonRenderPlugin()],
        ),
        logging_config=None,  # the process configures it
        debug=False,
    )
    app.state.gateway = gateway
    return app
