"""The options that many commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data",
        envvar="RUNTIME_DATA",
        show_envvar=True,
        help="Data directory of the embedded servers (default: troupe in the user's state directory).",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout, for scripts.")]
Tenant = Annotated[
    str | None, typer.Option("--tenant", envvar="RUNTIME_TENANT", show_envvar=True, help="Whose actors.")
]
TimeoutS = Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds to wait for an answer.")]
Kind = Annotated[str, typer.Argument(help="The kind of actor.")]
Key = Annotated[str, typer.Argument(help="The actor's key.")]
OnlyKind = Annotated[str | None, typer.Option("--kind", help="Only this kind.")]
OnlyKey = Annotated[str | None, typer.Option("--key", help="Only this key.")]
Limit = Annotated[int, typer.Option("--limit", min=1, help="At most so many.")]
By = Annotated[str | None, typer.Option("--by", envvar="USER", help="Who gives the order; kept in the log.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept in the log.")]


def examples(*lines: str) -> str:
    """The end of a command's --help."""
    return "\b\n" + "\n".join(["Example:" if len(lines) == 1 else "Examples:", *[f"  {line}" for line in lines]])
