"""`runtime intake`: intents from NATS."""

from __future__ import annotations

import typer

from runtime.cli.options import AsJson, DataDir, examples


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    intake = typer.Typer(help="Intents from NATS.", no_args_is_help=True, rich_markup_mode=None)
    intake.callback()(_group)  # one command alone would otherwise take the place of the group
    intake.command(epilog=examples("runtime intake up"))(up)
    app.add_typer(intake, name="intake")


def _group() -> None:
    """Turn what is published on intent.<tenant>.<session> into commands. It holds nothing: run as many as needed."""


def up(data: DataDir = None, as_json: AsJson = False) -> None:
    """Run an intake, here, until Ctrl-C or SIGTERM. It is started again when it dies.

    The servers must run: those that RUNTIME_NATS_URL names, or those of the data directory.
    """
    from runtime.cli.formation import Formation

    formation = Formation(data, as_json=as_json, starts_servers=False)
    formation.add_intake()
    formation.run()
