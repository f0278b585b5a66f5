"""`runtime init`: a small project to begin with."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from runtime.cli.options import AsJson, examples
from runtime.cli.output import print_json, print_line
from runtime.errors import Misconfigured

FILES = ("bank.py", "test_bank.py", "README.md")


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(epilog=examples("runtime init my-project"))(init)


def init(
    directory: Annotated[Path, typer.Argument(help="Where to; made when it is missing.")] = Path(),
    as_json: AsJson = False,
) -> None:
    """Make a small project to begin with.

    A module with an entity, its test, and a README that says how to run it. Files that exist are never touched: if one
    of these is there already, nothing is written.
    """
    there = [name for name in FILES if (directory / name).exists()]
    if there:
        raise Misconfigured(f"{directory / there[0]} exists already: name another directory, as in `runtime init bank`")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            with (directory / name).open("x", encoding="utf-8") as file:
                file.write(files("runtime.cli").joinpath("template", name).read_text("utf-8"))
    except OSError as error:
        raise Misconfigured(f"{directory} cannot be written: {error.strerror}") from error
    if as_json:
        print_json({"directory": str(directory), "files": FILES})
        return
    for name in FILES:
        print_line(f"wrote {directory / name}")
    print_line(f"next: {'' if directory == Path() else f'cd {directory}; '}runtime dev bank")
