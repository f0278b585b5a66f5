"""`runtime gateway`: the HTTP front."""

from __future__ import annotations

from typing import Annotated

import typer

from runtime.cli.options import AsJson, DataDir, examples

Host = Annotated[
    str | None,
    typer.Option(
        "--host",
        envvar="RUNTIME_GATEWAY_HOST",
        show_envvar=True,
        help="Address to listen on; any but loopback needs API keys (RUNTIME_API_KEYS_FILE).",
    ),
]
Port = Annotated[
    int | None,
    typer.Option(
        "--port",
        envvar="RUNTIME_GATEWAY_PORT",
        show_envvar=True,
        min=0,
        max=65_535,
        help="Port to listen on; 0 takes a free one.",
    ),
]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    gateway = typer.Typer(help="The HTTP front.", no_args_is_help=True, rich_markup_mode=None)
    gateway.callback()(_group)  # one command alone would otherwise take the place of the group
    gateway.command(epilog=examples("runtime gateway up --port 8080"))(up)
    app.add_typer(gateway, name="gateway")


def _group() -> None:
    """The HTTP front. It holds no state: run as many as are needed."""


def up(host: Host = None, port: Port = None, data: DataDir = None, as_json: AsJson = False) -> None:
    """Run a gateway, here, until Ctrl-C or SIGTERM. It is started again when it dies.

    The servers must run: those that RUNTIME_NATS_URL names, or those of the data directory.
    """
    from runtime.cli.formation import Formation

    formation = Formation(data, as_json=as_json, starts_servers=False)
    formation.add_gateway(host, port)
    formation.run()
