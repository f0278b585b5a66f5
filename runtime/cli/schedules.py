"""`runtime schedules`: what starts commands again and again."""

from __future__ import annotations

import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from runtime.cli.moments import moment, shown
from runtime.cli.options import AsJson, DataDir, Tenant, TimeoutS, examples
from runtime.cli.output import as_text, clipped, print_json, print_line, print_table
from runtime.cli.reach import Reach

if TYPE_CHECKING:
    from schemas.schedules import Description, Firing

Name = Annotated[str, typer.Argument(metavar="NAME", help="The schedule's name.")]
Note = Annotated[str, typer.Option("--note", help="Why; kept in the log.")]


class Overlap(StrEnum):
    """What happens at a due time while a run has not ended."""

    SKIP = "skip"
    BUFFER = "buffer"
    ALLOW = "allow"
    CANCEL = "cancel"


class Filling(StrEnum):
    """How the runs of a backfill follow each other."""

    WAIT = "wait"
    ALLOW = "allow"


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    schedules = typer.Typer(help="What starts commands again and again.", no_args_is_help=True, rich_markup_mode=None)
    for command, *lines in (
        (up, "runtime schedules up --pods 2"),
        (
            create,
            'runtime schedules create nightly report day={due} --cron "0 3 * * *" --timezone Europe/Berlin',
            "runtime schedules create sweep account --method sweep --key all --every 300 --overlap buffer",
        ),
        (list_, "runtime schedules list"),
        (describe, "runtime schedules describe nightly"),
        (pause, 'runtime schedules pause nightly --note "holidays"'),
        (resume, "runtime schedules resume nightly"),
        (trigger, "runtime schedules trigger nightly"),
        (backfill, "runtime schedules backfill nightly --start 2026-11-01 --end 2026-11-08"),
        (delete, "runtime schedules delete nightly"),
    ):
        schedules.command(command.__name__.rstrip("_"), epilog=examples(*lines))(command)
    app.add_typer(schedules, name="schedules")


def up(
    pods: Annotated[int, typer.Option("--pods", min=1, max=64, help="How many pods, each a process.")] = 1,
    data: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Run pods that serve schedules, here, until Ctrl-C or SIGTERM, in a group of their own.

    Any pod serves them that is given the module actors.schedules: then this is not needed.
    """
    from runtime.cli.formation import Formation
    from schemas.schedules import MODULE

    formation = Formation(data, as_json=as_json)
    formation.add_pods(pods, "schedules", [MODULE], "schedules")
    formation.run()


def create(
    name: Name,
    kind: Annotated[str, typer.Argument(help="The kind of what is started.")],
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ARGS]…", help="A JSON value, name=value pairs, @FILE, or -; {due} is the due time."),
    ] = None,
    method: Annotated[str, typer.Option("--method", help="The method.")] = "run",
    key: Annotated[
        str, typer.Option("--key", help="The actor's key; {run}, {due} and {schedule} are replaced in it.")
    ] = "{run}",
    cron: Annotated[str | None, typer.Option("--cron", help="Minute, hour, day, month, weekday; or @daily …")] = None,
    timezone: Annotated[str, typer.Option("--timezone", help="An IANA name, for --cron.")] = "UTC",
    every: Annotated[float | None, typer.Option("--every", min=1, help="Seconds, instead of --cron.")] = None,
    jitter: Annotated[float, typer.Option("--jitter", min=0, help="Up to so many seconds later.")] = 0.0,
    overlap: Annotated[Overlap, typer.Option("--overlap", help="While a run has not ended.")] = Overlap.SKIP,
    catch_up: Annotated[float, typer.Option("--catch-up", min=10, help="Seconds after which it is too late.")] = 3600.0,
    start: Annotated[str | None, typer.Option("--start", help="Nothing is due before: 2026-12-01T08:00:00Z.")] = None,
    end: Annotated[str | None, typer.Option("--end", help="Nothing is due behind.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Change a schedule that exists.")] = False,
    tenant: Tenant = None,
    data: DataDir = None,
    timeout_s: TimeoutS = 10.0,
    as_json: AsJson = False,
) -> None:
    """Make a schedule that starts a method of an actor, by --cron or --every. The same one again does nothing."""
    import msgspec

    from runtime.cli.arguments import body_of
    from schemas.schedules import Spec

    body = body_of(words or [])
    spec = Spec(
        kind,
        method,
        key,
        msgspec.json.decode(body) if body else None,
        cron,
        timezone,
        every,
        jitter_s=jitter,
        overlap=overlap.value,
        catch_up_s=catch_up,
        start_at=_seconds(start),
        end_at=_seconds(end),
    )
    reach = Reach(data, tenant, timeout_s)
    reach.run(lambda client: client.schedules.create(name, spec, replace=replace, timeout_s=timeout_s))
    described = reach.run(lambda client: client.schedules.describe(name, timeout_s=timeout_s))
    _show(described, as_json)


def list_(
    after: Annotated[str, typer.Option("--after", help="Begin behind this name: the next page.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="At most so many.")] = 100,
    tenant: Tenant = None,
    data: DataDir = None,
    timeout_s: TimeoutS = 10.0,
    as_json: AsJson = False,
) -> None:
    """List the schedules by name."""
    page = Reach(data, tenant, timeout_s).run(
        lambda client: client.schedules.list(after=after, limit=limit, timeout_s=timeout_s)
    )
    if as_json:
        print_json(page)
        return
    rows = [
        (
            one.name, f"{one.spec.kind}.{one.spec.method}", _when(one),
            "paused" if one.paused else shown(next(iter(one.next), None)),
            len(one.running), one.fired, one.skipped, one.failed,
        )
        for one in page.schedules
    ]  # fmt: skip
    headers = ("NAME", "STARTS", "WHEN", "NEXT", "RUNNING", "FIRED", "SKIPPED", "FAILED")
    print_table(headers, rows, empty="no schedules")
    if page.after is not None:
        print_line(f"more: add --after {page.after}")


def describe(
    name: Name, tenant: Tenant = None, data: DataDir = None, timeout_s: TimeoutS = 10.0, as_json: AsJson = False
) -> None:
    """Show one schedule: what it starts, its next times, what runs and ran last."""
    found = Reach(data, tenant, timeout_s).run(lambda client: client.schedules.describe(name, timeout_s=timeout_s))
    _show(found, as_json)


def pause(
    name: Name,
    note: Note = "",
    tenant: Tenant = None,
    data: DataDir = None,
    timeout_s: TimeoutS = 10.0,
    as_json: AsJson = False,
) -> None:
    """Stop a schedule until it is resumed. What is due meanwhile is not made up for; what runs goes on."""
    Reach(data, tenant, timeout_s).run(lambda client: client.schedules.pause(name, note, timeout_s=timeout_s))
    _told(name, "paused", as_json)


def resume(
    name: Name,
    note: Note = "",
    tenant: Tenant = None,
    data: DataDir = None,
    timeout_s: TimeoutS = 10.0,
    as_json: AsJson = False,
) -> None:
    """Let a paused schedule go on with its next due time."""
    Reach(data, tenant, timeout_s).run(lambda client: client.schedules.resume(name, note, timeout_s=timeout_s))
    _told(name, "resumed", as_json)


def trigger(
    name: Name,
    overlap: Annotated[Overlap, typer.Option("--overlap", help="While a run has not ended.")] = Overlap.ALLOW,
    tenant: Tenant = None,
    data: DataDir = None,
    timeout_s: TimeoutS = 10.0,
    as_json: AsJson = False,
) -> None:
    """Start a run now, and print its command's id."""
    run = Reach(data, tenant, timeout_s).run(
        lambda client: client.schedules.trigger(name, overlap.value, timeout_s=timeout_s)
    )
    if as_json:
        print_json({"schedule": name, "run": run})
    else:
        print_line(run or f"schedule {name}: a run has not ended, so none was started now")


def backfill(
    name: Name,
    start: Annotated[str, typer.Option("--start", help="From then: 2026-11-01, 2026-11-01T08:00:00Z, or 3d ago: 3d.")],
    end: Annotated[str, typer.Option("--end", help="Up to then, as --start.")],
    overlap: Annotated[
        Filling, typer.Option("--overlap", help="One after the other, or at the same time.")
    ] = Filling.WAIT,
    tenant: Tenant = None,
    data: DataDir = None,
    timeout_s: TimeoutS = 10.0,
    as_json: AsJson = False,
) -> None:
    """Start a run for each due time of the past between two times."""
    since, until = _seconds(start) or 0.0, _seconds(end) or 0.0
    Reach(data, tenant, timeout_s).run(
        lambda client: client.schedules.backfill(name, since, until, overlap.value, timeout_s=timeout_s)
    )
    _told(name, "backfilling", as_json)


def delete(
    name: Name, tenant: Tenant = None, data: DataDir = None, timeout_s: TimeoutS = 10.0, as_json: AsJson = False
) -> None:
    """End a schedule. What runs goes on; its log stays, and its name is free."""
    Reach(data, tenant, timeout_s).run(lambda client: client.schedules.delete(name, timeout_s=timeout_s))
    _told(name, "deleted", as_json)


def _told(name: str, state: str, as_json: bool) -> None:
    if as_json:
        print_json({"schedule": name, "state": state})
    else:
        print_line(f"schedule {name}: {state}")


def _show(found: Description, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    spec = found.spec
    print_line(f"{found.name}: {spec.kind}/{spec.key}.{spec.method} {clipped(as_text(spec.args))}")
    print_line(f"when: {_when(found)}, jitter {spec.jitter_s:g} s, overlap {spec.overlap}")
    if found.paused:
        print_line(f"paused: {found.note or 'no reason was given'}")
    print_line(f"next: {', '.join(shown(one) for one in found.next) or '-'}")
    print_line(f"fired {found.fired}, skipped {found.skipped}, failed {found.failed}")
    for one in found.backfills:
        print_line(f"backfill: at {shown(one.at)}, until {shown(one.until)}")
    running = {one.run for one in found.running}
    rows = [_row(one, one.run in running) for one in found.recent]
    print_table(("RUN", "DUE", "STARTED", "OUTCOME"), rows, empty="no run yet")


def _row(one: Firing, runs: bool) -> tuple[str, str, str, str]:
    return one.run, shown(one.due), shown(one.at), "running" if runs else one.outcome or "-"


def _when(one: Description) -> str:
    return f"{one.spec.cron} {one.spec.timezone}" if one.spec.cron else f"every {one.spec.every_s:g} s"


def _seconds(text: str | None) -> float | None:
    found = moment(text, datetime.datetime.now(datetime.UTC))
    return None if found is None else found.timestamp()
