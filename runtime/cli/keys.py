"""`runtime keys`: API keys for the gateway."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from runtime.cli.options import AsJson, examples
from runtime.cli.output import print_json, print_line
from runtime.errors import Misconfigured


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    keys = typer.Typer(help="API keys for the gateway.", no_args_is_help=True, rich_markup_mode=None)
    keys.command(epilog=examples("runtime keys new --tenant acme --principal ann --file keys.jsonl"))(new)
    app.add_typer(keys, name="keys")


def new(
    principal: Annotated[str, typer.Option("--principal", help="Who will use the key.")],
    tenant: Annotated[str, typer.Option("--tenant", help="Whose actors the key opens.")] = "default",
    role: Annotated[list[str] | None, typer.Option("--role", help="A role of the principal; may be repeated.")] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file", envvar="RUNTIME_API_KEYS_FILE", show_envvar=True, help="Add the key's line to this file."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make an API key. It is shown once; the file keeps only its hash."""
    from gateway.keys import new_key

    try:
        key, line = new_key(tenant, principal, tuple(role or ()))
    except ValueError as error:
        raise Misconfigured(str(error)) from error
    if file is not None:
        _add(file, line)
    if as_json:
        print_json({"key": key, "line": line, "file": None if file is None else str(file)})
        return
    print_line(key)
    if file is None:
        print_line(f"the line for the file that RUNTIME_API_KEYS_FILE names: {line}")
    else:
        print_line(f"its hash was added to {file}; the key itself is shown only now")


def _add(file: Path, line: str) -> None:
    """Writes a new file and renames it over the old: a gateway that reads meanwhile sees one or the other."""
    try:
        before = file.read_bytes() if file.exists() else b""
        if before.lstrip().startswith(b"["):
            raise Misconfigured(f"{file} holds one JSON array: add this to it by hand, or keep one key a line: {line}")
        if before and not before.endswith(b"\n"):
            before += b"\n"
        beside = file.with_name(f"{file.name}.{os.getpid()}")
        beside.touch(mode=0o600, exist_ok=False)
        beside.write_bytes(before + line.encode() + b"\n")
        beside.replace(file)
    except OSError as error:
        raise Misconfigured(f"the key was not added to {file}: {error.strerror}") from error
