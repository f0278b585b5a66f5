"""`runtime log`: what happened, by actor or by time."""

from __future__ import annotations

import datetime
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from runtime.cli import archive
from runtime.cli.moments import moment
from runtime.cli.options import AsJson, DataDir, Limit, Tenant, TimeoutS, examples
from runtime.cli.output import as_text, print_json, print_line, print_table
from runtime.cli.reach import Reach
from runtime.errors import Misconfigured

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from runtime.client import Client
    from schemas.wire import LogEvent

PAGE = 1000

_Kind = Annotated[str | None, typer.Argument(help="Only this kind of actor.")]
_Key = Annotated[str | None, typer.Argument(help="Only the actor of that kind with this key.")]
_Since = Annotated[str | None, typer.Option("--since", metavar="TIME", help="From this time on: 2026-01-31, 10m, 2h.")]
_Until = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Before this time.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    log = typer.Typer(help="The event log: what happened.", no_args_is_help=True, rich_markup_mode=None)
    log.command(epilog=examples("runtime log show account alice", "runtime log show --since 10m"))(show)
    log.command(epilog=examples("runtime log export > log.jsonl", "runtime log export account -o a.jsonl"))(export)
    archive.add(log)
    app.add_typer(log, name="log")


def show(
    kind: _Kind = None,
    key: _Key = None,
    from_seq: Annotated[int, typer.Option("--from", min=1, help="Of one actor: begin with this event.")] = 1,
    since: _Since = None,
    until: _Until = None,
    limit: Limit = 100,
    tenant: Tenant = None,
    data: DataDir = None,
    timeout_s: TimeoutS = 30.0,
    as_json: AsJson = False,
) -> None:
    """Show the events of one actor in their order, or those of all actors by time."""
    now = datetime.datetime.now(datetime.UTC)
    span = (moment(since, now), moment(until, now))

    async def read(client: Client) -> list[LogEvent]:
        if kind is not None and key is not None:
            return [event async for event in _of_actor(client, (kind, key), from_seq, span, limit, timeout_s)]
        question = {"tenant": client.tenant, "kind": kind, "since": span[0], "until": span[1], "limit": limit}
        page = await client.service("log", question, type=_page_type(), timeout_s=timeout_s)
        found: list[LogEvent] = page.events
        return found

    events = Reach(data, tenant, timeout_s).run(read)
    if as_json:
        print_json({"events": events})
        return
    if key is not None:
        rows = [(one.seq, one.at, one.type, as_text(one.payload), one.command_id) for one in events]
        print_table(("SEQ", "AT", "TYPE", "PAYLOAD", "COMMAND"), rows, empty=f"no events of {kind}/{key}")
        return
    lines = [(one.at, one.kind, one.key, one.seq, one.type, as_text(one.payload)) for one in events]
    print_table(("AT", "KIND", "KEY", "SEQ", "TYPE", "PAYLOAD"), lines, empty="no events")
    if len(events) == min(limit, PAGE):
        print_line(f"perhaps more: add --since {events[-1].at}, or use `runtime log export`")


def export(
    kind: _Kind = None,
    key: _Key = None,
    since: _Since = None,
    until: _Until = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A file, which appears when it is complete; else stdout.")
    ] = None,
    tenant: Tenant = None,
    data: DataDir = None,
    timeout_s: TimeoutS = 30.0,
    as_json: AsJson = False,
) -> None:
    """Export events as JSON lines, one event a line, whole and exact.

    The whole log is read by position, lane after lane, up to where each is when it is reached: an actor's events are in
    their order, and none that was committed late is skipped. With --json the last line on stderr says how many.
    """
    now = datetime.datetime.now(datetime.UTC)
    span = (moment(since, now), moment(until, now))

    async def write(client: Client) -> int:
        one = kind is not None and key is not None
        events = (
            _of_actor(client, (str(kind), str(key)), 1, span, None, timeout_s)
            if one
            else _of_log(client, kind, span, timeout_s)
        )
        count = 0
        with _opened(output) as file:
            async for event in events:
                file.write(msgspec.json.encode(event) + b"\n")
                count += 1
        return count

    count = Reach(data, tenant, timeout_s).run(write)
    if as_json:
        sys.stderr.write(as_text({"exported": count}) + "\n")
    elif output is not None:
        print_line(f"exported {count} events to {output}")


async def _of_actor(
    client: Client,
    actor: tuple[str, str],
    from_seq: int,
    span: tuple[datetime.datetime | None, datetime.datetime | None],
    limit: int | None,
    timeout_s: float,
) -> AsyncIterator[LogEvent]:
    left = limit
    while left is None or left > 0:
        question = {"tenant": client.tenant, "kind": actor[0], "key": actor[1], "from_seq": from_seq, "limit": PAGE}
        page = await client.service("log", question | {"until": span[1]}, type=_page_type(), timeout_s=timeout_s)
        for event in page.events:
            if span[0] is not None and datetime.datetime.fromisoformat(event.at) < span[0]:
                continue
            yield event
            left = None if left is None else left - 1
            if left == 0:
                return
        if len(page.events) < PAGE:
            return
        from_seq = page.events[-1].seq + 1


async def _of_log(
    client: Client,
    kind: str | None,
    span: tuple[datetime.datetime | None, datetime.datetime | None],
    timeout_s: float,
) -> AsyncIterator[LogEvent]:
    position: dict[str, int] = {}
    while True:
        question = {"tenant": client.tenant, "kind": kind, "since": span[0], "until": span[1], "limit": PAGE}
        page = await client.service("log", question | {"after": position}, type=_page_type(), timeout_s=timeout_s)
        for event in page.events:
            yield event
        if not page.more:
            return
        position = page.position


def _page_type() -> Any:
    from schemas.wire import LogEvent

    return msgspec.defstruct(
        "Page", [("events", list[LogEvent]), ("position", dict[str, int], {}), ("more", bool, False)]
    )


@contextmanager
def _opened(output: Path | None) -> Iterator[Any]:
    """stdout, or a new file that takes the name `output` when everything is in it."""
    if output is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    beside = output.with_name(f"{output.name}.{os.getpid()}.part")
    try:
        with beside.open("xb") as file:
            yield file
        beside.replace(output)
    except OSError as error:
        raise Misconfigured(f"{output} cannot be written: {error.strerror}") from error
    finally:
        beside.unlink(missing_ok=True)
