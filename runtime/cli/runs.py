"""`runtime runs`: what became of commands that nobody waited for."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import typer

from runtime.cli.arguments import body_of
from runtime.cli.options import AsJson, DataDir, Tenant, examples
from runtime.cli.output import as_text, print_json, print_line
from runtime.cli.reach import Reach


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    runs = typer.Typer(
        help="Commands that were sent without waiting.", no_args_is_help=True, rich_markup_mode=None
    )
    runs.command(epilog=examples("runtime runs show lKdhY2NvdW50pWFsaWNloTEA"))(show)
    runs.command(epilog=examples("runtime runs signal lKdhY2NvdW50pWFsaWNloTEA approved true"))(signal)
    runs.command(epilog=examples("runtime runs update lKdhY2NvdW50pWFsaWNloTEA limit 100"))(update)
    runs.command(epilog=examples("runtime runs cancel lKdhY2NvdW50pWFsaWNloTEA --reason 'not wanted any more'"))(cancel)
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


RunId = Annotated[str, typer.Argument(metavar="RUN", help="The run's id, as the submission answered with.")]
Name = Annotated[str, typer.Argument(help="The name for which the handler waits.")]
Value = Annotated[list[str] | None, typer.Argument(help="A JSON value, name=value pairs, @FILE, or -; none is null.")]
Timeout = Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds to wait.")]


def signal(
    run: RunId,
    name: Name,
    value: Value = None,
    tenant: Tenant = None,
    data: DataDir = None,
    timeout_s: Timeout = 10.0,
    as_json: AsJson = False,
) -> None:
    """Send a running handler a value; it is in the log when this ends."""
    given = _value(value)
    Reach(data, tenant, timeout_s).run(lambda client: client.run(run).signal(name, given, timeout_s=timeout_s))
    if as_json:
        print_json({"run": run, "signal": name})
    else:
        print_line(f"signal {name} is in the log")


def update(
    run: RunId,
    name: Name,
    value: Value = None,
    tenant: Tenant = None,
    data: DataDir = None,
    timeout_s: Timeout = 10.0,
    as_json: AsJson = False,
) -> None:
    """Ask a running handler, and print its answer as JSON."""
    given = _value(value)
    answer: Any = Reach(data, tenant, timeout_s).run(
        lambda client: client.run(run).update(name, given, timeout_s=timeout_s)
    )
    if as_json:
        print_json({"run": run, "update": name, "result": answer})
    else:
        print_line(as_text(answer))


def cancel(
    run: RunId,
    reason: Annotated[str, typer.Option(help="Why; kept in the log.")] = "",
    tenant: Tenant = None,
    data: DataDir = None,
    timeout_s: Timeout = 10.0,
    as_json: AsJson = False,
) -> None:
    """Tell a run to end. What becomes of it, `runtime runs show` says."""
    Reach(data, tenant, timeout_s).run(lambda client: client.run(run).cancel(reason, timeout_s=timeout_s))
    if as_json:
        print_json({"run": run, "cancel": reason})
    else:
        print_line(f"run {run} is told to end")


def _value(words: list[str] | None) -> Any:
    return msgspec.json.decode(body_of(words)) if words else None
