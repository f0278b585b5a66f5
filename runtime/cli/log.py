"""`runtime log`: what happened, by actor or by time."""

from __future__ import annotations

import datetime
import os
import sys
from asyncio import gather
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
AT_A_TIME = 64

Span = tuple[datetime.datetime | None, datetime.datetime | None]
"""From when on, and before when."""


class _Described(msgspec.Struct):
    seq: int = 0
    state: msgspec.Raw = msgspec.Raw()
    """Empty when it cannot be folded."""


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
    states: Annotated[
        bool, typer.Option("--states", help="Add what pods make of each actor, for `runtime replay --against`.")
    ] = False,
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
    count = write(output, kind, key, span, tenant, data, timeout_s, states=states)
    if as_json:
        sys.stderr.write(as_text({"exported": count}) + "\n")
    elif output is not None:
        print_line(f"exported {count} events to {output}")


def write(
    output: Path | None,
    kind: str | None,
    key: str | None,
    span: Span,
    tenant: str | None,
    data: Path | None,
    timeout_s: float,
    *,
    states: bool,
) -> int:
    """Writes what `export` exports, and gives how many events that are."""

    async def export_all(client: Client) -> int:
        one = kind is not None and key is not None
        events = (
            _of_actor(client, (str(kind), str(key)), 1, span, None, timeout_s)
            if one
            else _of_log(client, kind, span, timeout_s)
        )
        count = 0
        last: dict[tuple[str, str], int] = {}
        with _opened(output) as file:
            async for event in events:
                file.write(msgspec.json.encode(event) + b"\n")
                count += 1
                last[event.kind, event.key] = event.seq
            if states:
                count += await _add_states(client, file, last, timeout_s)
        return count

    return Reach(data, tenant, timeout_s).run(export_all)


async def _add_states(
    client: Client, file: Any, last: dict[tuple[str, str], int], timeout_s: float
) -> int:
    """Writes the state of each of these actors, and the events that it has got since; gives how many these are."""
    unserved: set[str] = set()

    async def described(kind: str, key: str) -> _Described:
        from runtime.client.failures import decode_as
        from runtime.errors import CallFailed

        if kind in unserved:
            return _Described()
        try:
            reply = await client.read(kind, key, "$describe", b"", timeout_s=timeout_s)
        except CallFailed as error:
            if error.code not in ("unknown_kind", "unavailable", "timeout"):
                raise
            unserved.add(kind)  # its events are compared all the same
            return _Described()
        found: _Described = decode_as(reply.result, _Described)
        return found

    count = 0
    actors = list(last.items())
    for begin in range(0, len(actors), AT_A_TIME):
        some = actors[begin : begin + AT_A_TIME]
        answers = await gather(*[described(*actor) for actor, _ in some])
        for (actor, seq), found in zip(some, answers, strict=True):
            count += await _write_state(client, file, actor, seq, found, timeout_s)
    return count


async def _write_state(
    client: Client, file: Any, actor: tuple[str, str], seq: int, found: _Described, timeout_s: float
) -> int:
    from runtime.replaying.recording import RecordedState

    if not bytes(found.state):
        return 0
    count = 0
    if found.seq > seq:
        async for event in _of_actor(client, actor, seq + 1, (None, None), found.seq - seq, timeout_s):
            file.write(msgspec.json.encode(event) + b"\n")
            count += 1
    state = RecordedState(tenant=client.tenant, kind=actor[0], key=actor[1], seq=found.seq, state=found.state)
    file.write(msgspec.json.encode(state) + b"\n")
    return count


async def _of_actor(
    client: Client,
    actor: tuple[str, str],
    from_seq: int,
    span: Span,
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
    span: Span,
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
