"""`runtime infra`: the embedded servers alone."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runtime.cli.exits import ExitCode
from runtime.cli.options import AsJson, DataDir, examples
from runtime.cli.output import print_json, print_line

if TYPE_CHECKING:
    from runtime.infra import Endpoints

_AsEnvironment = Annotated[
    bool, typer.Option("--env", help="Lines that a shell can evaluate: the two URLs, with their passwords.")
]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    infra = typer.Typer(
        help="The embedded NATS and Postgres: real servers on loopback.", no_args_is_help=True, rich_markup_mode=None
    )
    infra.command(epilog=examples("runtime infra up", 'eval "$(runtime infra up --env)"'))(up)
    infra.command(epilog=examples("runtime infra down --data ./data"))(down)
    infra.command(epilog=examples("runtime infra status", 'eval "$(runtime infra status --env)"'))(status)
    app.add_typer(infra, name="infra")


def up(
    data: DataDir = None,
    foreground: Annotated[bool, typer.Option("--foreground", help="Hold them here until Ctrl-C or SIGTERM.")] = False,
    as_environment: _AsEnvironment = False,
    as_json: AsJson = False,
) -> None:
    """Start NATS and Postgres, and return when both are ready. They go on running until `runtime infra down`."""
    import runtime.infra as servers
    from runtime.clock import system_clock

    begun = system_clock.monotonic()

    def ready(endpoints: Endpoints) -> None:
        took_s = system_clock.monotonic() - begun
        _print_endpoints(endpoints, took_s, as_json=as_json, as_environment=as_environment)

    if foreground:
        servers.up(data, ready)
    else:
        ready(servers.up_detached(data))


def down(data: DataDir = None, as_json: AsJson = False) -> None:
    """End the servers, whoever holds them. Their data stays."""
    import runtime.infra as servers

    pid = servers.down(data)
    if as_json:
        print_json({"ended": pid is not None, "owner_pid": pid})
    else:
        print_line("nothing ran" if pid is None else f"ended the servers of process {pid}")


def status(data: DataDir = None, as_environment: _AsEnvironment = False, as_json: AsJson = False) -> None:
    """Show which servers would be used, and whether they accept connections. Ends with 5 when they do not run."""
    import runtime.infra as servers

    found = servers.status(data)
    if found.endpoints is not None and as_environment:
        _print_environment(found.endpoints)
    elif as_json:
        print_json(
            {
                "state": found.state,
                "data_dir": None if found.data_dir is None else str(found.data_dir),
                "nats_accepts": found.nats_accepts,
                "postgres_accepts": found.postgres_accepts,
            }
            | ({} if found.endpoints is None else _described(found.endpoints))
        )
    elif found.endpoints is None:
        print_line(f"{found.state}: no servers run for {found.data_dir}")
    else:
        place = "named by the environment" if found.state == "given" else f"{found.data_dir}"
        print_line(f"{found.state}: {place}")
        described = _described(found.endpoints)
        for name, accepts in (("nats", found.nats_accepts), ("postgres", found.postgres_accepts)):
            print_line(f"  {name:9}{described[name]}  {'accepts connections' if accepts else 'does not answer'}")
        if found.endpoints.owner_pid is not None:
            print_line(f"  held by  process {found.endpoints.owner_pid}")
    if not (found.nats_accepts and found.postgres_accepts):
        raise typer.Exit(ExitCode.UNAVAILABLE)


def _print_environment(endpoints: Endpoints) -> None:
    print_line(f"export RUNTIME_NATS_URL={shlex.quote(endpoints.nats_url)}")
    print_line(f"export RUNTIME_POSTGRES_URL={shlex.quote(endpoints.postgres_url)}")


def _print_endpoints(endpoints: Endpoints, took_s: float, *, as_json: bool, as_environment: bool) -> None:
    if as_environment:
        _print_environment(endpoints)
        return
    described = _described(endpoints)
    if as_json:
        print_json(described | {"ready_in_s": round(took_s, 3)})
        return
    print_line(f"NATS      {described['nats']}")
    print_line(f"Postgres  {described['postgres']}")
    print_line(f"data      {endpoints.data_dir}")
    print_line(f"Ready in {took_s:.1f} s. The URLs with their passwords: runtime infra status --env")


def _described(endpoints: Endpoints) -> dict[str, Any]:
    """The endpoints without their passwords."""
    from runtime.client.connection import redacted

    return {
        "nats": redacted(endpoints.nats_url),
        "postgres": redacted(endpoints.postgres_url),
        "owner_pid": endpoints.owner_pid,
        "nats_pid": endpoints.nats_pid,
        "postgres_pid": endpoints.postgres_pid,
    }
