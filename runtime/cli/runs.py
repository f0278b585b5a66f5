"""`runtime runs`: which runs there are, what became of each, and what a person does about it."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from runtime.cli.arguments import body_of
from runtime.cli.moments import moment
from runtime.cli.options import AsJson, By, DataDir, Limit, OnlyKey, OnlyKind, Reason, Tenant, TimeoutS, examples
from runtime.cli.output import as_text, print_json, print_line, print_table
from runtime.cli.reach import Reach
from schemas.timeline import STATUSES

if TYPE_CHECKING:
    from runtime.client import Run

RunId = Annotated[str, typer.Argument(metavar="RUN", help="The run's id, as the submission answered with.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    runs = typer.Typer(
        help="Runs: list, describe, wait for, signal, cancel, terminate, retry and fork them.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    runs.command(
        "list",
        epilog=examples(
            "runtime runs list --status live",
            "runtime runs list --status failed --status parked --kind checkout --since 2d",
            "runtime runs list --tag customer:17",
        ),
    )(list_)
    runs.command(epilog=examples("runtime runs describe lKdhY2NvdW50pWFsaWNloTEA"))(describe)
    runs.command(epilog=examples("runtime runs show lKdhY2NvdW50pWFsaWNloTEA"))(show)
    runs.command(epilog=examples("runtime runs wait lKdhY2NvdW50pWFsaWNloTEA --timeout 600"))(wait)
    runs.command(epilog=examples("runtime runs signal lKdhY2NvdW50pWFsaWNloTEA approved true"))(signal)
    runs.command(
        "signal-with-start",
        epilog=examples("runtime runs signal-with-start basket ann add item=book --args '{\"limit\": 9}'"),
    )(signal_with_start)
    runs.command(epilog=examples("runtime runs complete lqdkZWZhdWx0pGNhYnM approved=true"))(complete)
    runs.command(epilog=examples("runtime runs fail lqdkZWZhdWx0pGNhYnM 'no car is free'"))(fail)
    runs.command(epilog=examples("runtime runs update lKdhY2NvdW50pWFsaWNloTEA limit 100"))(update)
    runs.command(epilog=examples("runtime runs cancel lKdhY2NvdW50pWFsaWNloTEA --reason 'not wanted any more'"))(cancel)
    runs.command(epilog=examples("runtime runs terminate lKdhY2NvdW50pWFsaWNloTEA --reason 'stuck'"))(terminate)
    runs.command(epilog=examples("runtime runs retry lKdhY2NvdW50pWFsaWNloTEA --reason 'mended in 2.1'"))(retry)
    runs.command(
        epilog=examples(
            "runtime runs fork lKdhY2NvdW50pWFsaWNloTEA --at-step 4",
            "runtime runs fork lKdhY2NvdW50pWFsaWNloTEA --at-step 4 limit=100 --key second-try",
        )
    )(fork)
    runs.command(epilog=examples("runtime runs restart lKdhY2NvdW50pWFsaWNloTEA --from-step 4"))(restart)
    app.add_typer(runs, name="runs")


def list_(
    status: Annotated[
        list[str] | None,
        typer.Option("--status", help=f"{', '.join(STATUSES)}; `live` for all that go on, `ended` for the others."),
    ] = None,
    kind: OnlyKind = None,
    key: OnlyKey = None,
    tag: Annotated[str | None, typer.Option("--tag", help="Only those with this tag.")] = None,
    since: Annotated[
        str | None, typer.Option("--since", help="Only those accepted since: a time, or how long ago (2h, 3d).")
    ] = None,
    cursor: Annotated[str | None, typer.Option("--after", metavar="CURSOR", help="The next page.")] = None,
    limit: Limit = 50,
    tenant: Tenant = None,
    data: DataDir = None,
    timeout_s: TimeoutS = 10.0,
    as_json: AsJson = False,
) -> None:
    """List runs, the latest first."""
    from runtime.client import listing

    wanted: dict[str, Any] = {"status": status or (), "kind": kind, "key": key, "tag": tag, "cursor": cursor}
    wanted |= {"since": moment(since, datetime.datetime.now(datetime.UTC)), "limit": limit, "timeout_s": timeout_s}
    found = Reach(data, tenant, timeout_s).run(lambda client: listing.page(client, **wanted))
    if as_json:
        print_json(found)
        return
    rows = [
        (run.status, run.kind, run.key, run.method, run.attempts, run.since, ",".join(run.tags) or None, run.run_id)
        for run in found.runs
    ]
    print_table(("STATUS", "KIND", "KEY", "METHOD", "ATTEMPTS", "SINCE", "TAGS", "RUN"), rows, empty="no runs")
    if found.cursor is not None:
        print_line(f"more: add --after {found.cursor}")


def describe(
    run: RunId,
    moments: Annotated[int, typer.Option("--moments", min=1, help="At most so many moments.")] = 1000,
    tenant: Tenant = None,
    data: DataDir = None,
    timeout_s: TimeoutS = 10.0,
    as_json: AsJson = False,
) -> None:
    """Show what a run is, what it waits for, and its timeline."""
    from runtime.cli.drawn import drawn

    found = Reach(data, tenant, timeout_s).run(
        lambda client: client.run(run).describe(moments=moments, timeout_s=timeout_s)
    )
    if as_json:
        print_json(found)
        return
    for line in drawn(found, datetime.datetime.now(datetime.UTC)):
        print_line(line)


def wait(
    run: RunId,
    tenant: Tenant = None,
    data: DataDir = None,
    timeout_s: Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds to wait for its end.")] = 3600.0,
    as_json: AsJson = False,
) -> None:
    """Wait for a run's end, wherever it was started, and print its result; ends as `runtime runs show` does."""
    show(run, tenant, data, timeout_s, as_json)


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


def signal_with_start(
    kind: Annotated[str, typer.Argument(help="The workflow.")],
    key: Annotated[str, typer.Argument(help="The run's key.")],
    name: Name,
    value: Value = None,
    args: Annotated[str | None, typer.Option("--args", help="What the run begins with, as JSON.")] = None,
    id: Annotated[str | None, typer.Option("--id", help="Makes a repeat harmless.")] = None,
    tenant: Tenant = None,
    data: DataDir = None,
    timeout_s: Timeout = 10.0,
    as_json: AsJson = False,
) -> None:
    """Send a workflow's run a signal, and start the run if none goes on; prints the run's id."""
    given, begins_with = _value(value), _value([args] if args else None)
    run: Run = Reach(data, tenant, timeout_s).run(
        lambda client: client.signal_with_start(kind, key, name, given, begins_with, id=id, timeout_s=timeout_s)
    )
    if as_json:
        print_json({"run": run.id, "signal": name})
    else:
        print_line(run.id)


Token = Annotated[str, typer.Argument(metavar="TOKEN", help="The token that a step handed out.")]


def complete(
    token: Token,
    value: Value = None,
    tenant: Tenant = None,
    data: DataDir = None,
    timeout_s: Timeout = 10.0,
    as_json: AsJson = False,
) -> None:
    """Complete the step that handed out a token, with a value; it is in the log when this ends."""
    given = _value(value)
    Reach(data, tenant, timeout_s).run(lambda client: client.complete(token, given, timeout_s=timeout_s))
    if as_json:
        print_json({"token": token, "status": "completed"})
    else:
        print_line("the step is completed")


def fail(
    token: Token,
    reason: Annotated[str, typer.Argument(help="Why it failed; the run is told.")],
    tenant: Tenant = None,
    data: DataDir = None,
    timeout_s: Timeout = 10.0,
    as_json: AsJson = False,
) -> None:
    """Fail the step that handed out a token."""
    Reach(data, tenant, timeout_s).run(lambda client: client.fail(token, reason, timeout_s=timeout_s))
    if as_json:
        print_json({"token": token, "status": "failed"})
    else:
        print_line("the step has failed")


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


def terminate(
    run: RunId,
    by: By = None,
    reason: Reason = "",
    tenant: Tenant = None,
    data: DataDir = None,
    timeout_s: TimeoutS = 10.0,
    as_json: AsJson = False,
) -> None:
    """End a run at once, without its handler: nothing that it did is undone."""
    Reach(data, tenant, timeout_s).run(
        lambda client: client.run(run).terminate(reason, by=by or "", timeout_s=timeout_s)
    )
    if as_json:
        print_json({"run": run, "terminate": reason})
    else:
        print_line(f"run {run} is terminated")


def retry(
    run: RunId,
    by: By = None,
    reason: Reason = "",
    tenant: Tenant = None,
    data: DataDir = None,
    timeout_s: TimeoutS = 10.0,
    as_json: AsJson = False,
) -> None:
    """Let a parked run go on; what it has completed is not done again."""
    Reach(data, tenant, timeout_s).run(lambda client: client.run(run).retry(reason, by=by, timeout_s=timeout_s))
    if as_json:
        print_json({"run": run, "retry": reason})
    else:
        print_line(f"run {run} goes on")


Arguments = Annotated[
    list[str] | None,
    typer.Argument(metavar="ARGUMENTS", help="Its arguments, as of `runtime actors call`; else those of the run."),
]
NewId = Annotated[str | None, typer.Option("--id", help="The new run's command id; a repeat makes no second run.")]


def fork(
    run: RunId,
    at_step: Annotated[int, typer.Option("--at-step", min=1, help="The first step that is done anew.")],
    arguments: Arguments = None,
    key: Annotated[str | None, typer.Option("--key", help="The new run's actor; else the same, or a new one.")] = None,
    id: NewId = None,
    tenant: Tenant = None,
    data: DataDir = None,
    timeout_s: TimeoutS = 10.0,
    as_json: AsJson = False,
) -> None:
    """Begin a new run with what another one recorded before a step; `runtime runs describe` numbers the steps."""
    body = body_of(arguments) if arguments else None
    found = Reach(data, tenant, timeout_s).run(
        lambda client: client.run(run).fork(at_step, body=body, key=key, id=id, timeout_s=timeout_s)
    )
    _print_begun(run, found, as_json=as_json)


def restart(
    run: RunId,
    from_step: Annotated[int, typer.Option("--from-step", min=1, help="The first step that is done anew.")],
    arguments: Arguments = None,
    id: NewId = None,
    by: By = None,
    reason: Reason = "",
    tenant: Tenant = None,
    data: DataDir = None,
    timeout_s: TimeoutS = 10.0,
    as_json: AsJson = False,
) -> None:
    """End a run, and begin it again on the same actor, with what it recorded before a step."""
    body = body_of(arguments) if arguments else None
    found = Reach(data, tenant, timeout_s).run(
        lambda client: client.run(run).restart(
            from_step, body=body, id=id, by=by, reason=reason, timeout_s=timeout_s
        )
    )
    _print_begun(run, found, as_json=as_json)


def _print_begun(run: str, begun: Any, *, as_json: bool) -> None:
    if as_json:
        print_json({"run": begun.id, "from": run, "kind": begun.kind, "key": begun.key, "id": begun.command_id})
    else:
        print_line(f"{begun.kind}/{begun.key} runs as {begun.id}")


def _value(words: list[str] | None) -> Any:
    return msgspec.json.decode(body_of(words)) if words else None
