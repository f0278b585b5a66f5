"""`runtime version`."""

from __future__ import annotations

import platform

import typer

from runtime.cli.options import AsJson, examples
from runtime.cli.output import print_json, print_line


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(epilog=examples("runtime version --json"))(version)


def version(as_json: AsJson = False) -> None:
    """Print the version of Troupe and of Python."""
    from runtime.version import VERSION

    if as_json:
        print_json({"version": VERSION, "python": platform.python_version()})
    else:
        print_line(f"troupe {VERSION} (Python {platform.python_version()})")
