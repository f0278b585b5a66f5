"""`runtime runs`: what became of commands that nobody waited for."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from runtime.cli.options import AsJson, DataDir, Tenant, examples
from runtime.cli.output import as_text, print_json, print_line
from runtime.cli.reach import Reach


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    runs = typer.Typer(
        help="Commands that were sent without waiting.", no_args_is_help=True, rich_markup_mode=None
    )
    runs.command(epilog=examples("runtime runs show lKdhY2NvdW50pWFsaWNloTEA"))(show)
    app.add_typer(runs, name="runs")


def show(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run's id, as the submission answered with.")],
    tenant: Tenant = None,
    data: DataDir = None,
    timeout_s: Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds to wait for its end.")] = 10.0,
    as_json: AsJson = False,
) -> None:
    """Print a run's result as JSON, once it has ended.

    Ends as `runtime actors call` would have: with 4 when the actor rejected the command, with the refusal's code when
    it was never processed, and with 5 when it has not ended in time.
    """
    found: Any = Reach(data, tenant, timeout_s).run(lambda client: client.run(run).result(timeout_s=timeout_s))
    if as_json:
        print_json({"run": run, "result": found})
    else:
        print_line(as_text(found))
