"""`runtime log archive`, `segments`, `restore`: moving old events out of the log's table, and back."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from runtime.cli.moments import moment
from runtime.cli.options import AsJson, DataDir, OnlyKind, examples
from runtime.cli.output import print_json, print_line, print_table
from runtime.cli.reach import postgres_url
from runtime.errors import CallFailed, Misconfigured, NotConnected, UnreadableSegment

if TYPE_CHECKING:
    from runtime.host.archiver import Archived
    from runtime.kind import Kind
    from runtime.policy import Retention
    from runtime.postgres.segments import PostgresSegments, SegmentInfo

T = TypeVar("T")

_Modules = Annotated[list[str], typer.Argument(metavar="MODULE", help="Modules with the kinds, as pods have them.")]
_To = Annotated[
    str | None,
    typer.Option(
        "--to",
        envvar="RUNTIME_ARCHIVE_URL",
        show_envvar=True,
        help="file:///a/directory, or s3://bucket/prefix (gs, az).",
    ),
]
_OlderThan = Annotated[
    str | None, typer.Option("--older-than", metavar="TIME", help="30d, 12h, or before a time: 2026-01-31.")
]
_KeepEvents = Annotated[int | None, typer.Option("--keep-events", min=1, help="Of each actor, at least so many stay.")]


def add(log: typer.Typer) -> None:
    """Adds the commands to `runtime log`."""
    log.command(
        epilog=examples("runtime log archive bank --to file:///srv/troupe", "runtime log archive bank --older-than 30d")
    )(archive)
    log.command(epilog=examples("runtime log segments", "runtime log segments --check"))(segments)
    log.command(epilog=examples("runtime log restore --kind account", "runtime log restore --segment 12"))(restore)


def archive(
    modules: _Modules,
    kind: OnlyKind = None,
    older_than: _OlderThan = None,
    keep_events: _KeepEvents = None,
    to: _To = None,
    data: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Move old events to the archive: what a kind's retention lets go, or what the options say.

    Nothing is lost, and reading the log goes on as before. It may run beside pods, end at any time, and run again. What
    the events of an actor fold to is compared with its snapshot first: hence the modules.
    """
    from runtime.modules import load_kinds

    if to is None:
        raise Misconfigured("nothing says where to: add --to file:///a/directory, or set RUNTIME_ARCHIVE_URL")
    chosen = _chosen(load_kinds(modules), kind, older_than, keep_events)
    done = _summed(asyncio.run(_archive(postgres_url(data), to, chosen)))
    if as_json:
        print_json({"archived": {name: dataclasses.asdict(one) for name, one in done.items()}})
    else:
        rows = [(name, one.events, one.actors, one.segments, one.bytes, one.refused) for name, one in done.items()]
        print_table(("KIND", "EVENTS", "ACTORS", "SEGMENTS", "BYTES", "REFUSED"), rows)
        if busy := max(one.busy for one in done.values()):
            print_line(f"{busy} lanes were being archived by others and were left to them")
    if any(one.refused for one in done.values()):
        raise CallFailed("rejected", "some actors were not archived: the lines above on stderr say which, and why")


def segments(
    kind: OnlyKind = None,
    check: Annotated[bool, typer.Option("--check", help="Read each one, and compare it with its checksums.")] = False,
    data: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """List the segments of the archive. With --check also files that no segment is; exit code 1 if one is damaged."""

    async def look(there: PostgresSegments) -> tuple[list[SegmentInfo], dict[int, str], dict[str, list[str]]]:
        found = await there.find(kind)
        damaged: dict[int, str] = {}
        unrecorded: dict[str, list[str]] = {}
        if check:
            for one in found:
                if one.live:
                    try:
                        await there.contents(one)
                    except UnreadableSegment as error:
                        damaged[one.id] = str(error)
            for store in sorted({one.store for one in found}):
                unrecorded[store] = await there.unrecorded(store)
        return found, damaged, unrecorded

    servers = asyncio.run(_with_segments(postgres_url(data), look))
    unrecorded = _nobodys([names for _, _, names in servers])
    damaged = [text for _, damaged, _ in servers for text in damaged.values()]
    if as_json:
        listed = [
            one._asdict() | {"url": one.url, "damaged": broken.get(one.id), "server": server}
            for server, (found, broken, _) in enumerate(servers, 1)
            for one in found
        ]
        print_json({"segments": listed, "unrecorded": unrecorded})
    else:
        rows = [
            (one.id, server, one.kind, one.lane, one.events, one.actors, one.bytes, one.first_at, _state(one), one.url)
            for server, (found, _, _) in enumerate(servers, 1)
            for one in found
        ]
        headers = ("SEGMENT", "SERVER", "KIND", "LANE", "EVENTS", "ACTORS", "BYTES", "FROM", "STATE", "URL")
        print_table(headers, rows, empty="nothing is archived")
        for name in unrecorded:
            print_line(f"no segment is {name}: it may be deleted when nobody archives")
    if damaged:
        raise UnreadableSegment("; ".join(damaged))


def restore(
    kind: OnlyKind = None,
    segment: Annotated[int | None, typer.Option("--segment", help="Only this one: see `runtime log segments`.")] = None,
    server: Annotated[
        int | None, typer.Option("--server", min=1, help="Of several Postgres servers only this one, counted from 1.")
    ] = None,
    data: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Make archived events rows again, newest segments first. The files stay.

    Pods whose kinds have a retention archive them again: change it first.
    """
    from runtime.host.places import servers_of

    if kind is None and segment is None:
        raise Misconfigured("nothing says what to restore: add --kind KIND, or --segment NUMBER")

    async def bring(there: PostgresSegments) -> tuple[int, int]:
        found = [one for one in await there.find(kind, segment) if one.live]
        if segment is not None and not found:
            raise CallFailed("not_found", f"there is no segment {segment} whose events are archived")
        return len(found), sum([await there.restore(one) for one in reversed(found)])

    url = postgres_url(data)
    servers = servers_of(url)
    if server is not None and server > len(servers):
        raise Misconfigured(f"there is no server {server}: RUNTIME_POSTGRES_URL names {len(servers)}")
    if segment is not None and server is None and len(servers) > 1:
        raise Misconfigured(f"{len(servers)} servers have segments of their own: add --server NUMBER")
    restored = asyncio.run(_with_segments(url if server is None else servers[server - 1], bring))
    count, events = (sum(column) for column in zip(*restored, strict=True))
    if as_json:
        print_json({"segments": count, "events": events})
    else:
        print_line(f"{events} events of {count} segments are rows again")


def _chosen(
    kinds: list[Kind], only: str | None, older_than: str | None, keep_events: int | None
) -> list[tuple[Kind, Retention]]:
    """The kinds to archive, each with what stays of it."""
    from runtime.policy import Retention

    now = datetime.datetime.now(datetime.UTC)
    before = moment(older_than, now)
    if before is not None and before > now:
        raise Misconfigured(f"--older-than {older_than} lies ahead")
    chosen = []
    for kind in kinds:
        declared = kind.behaviour.retention
        if (kind.name != only) if only is not None else (declared is None):
            continue
        if not kind.behaviour.snapshot_every:
            raise Misconfigured(f"kind {kind.name!r} has no snapshots, and only what is behind one is archived")
        stays = declared or Retention()
        if before is not None:
            stays = dataclasses.replace(stays, keep_for_s=(now - before).total_seconds())
        chosen.append((kind, stays if keep_events is None else dataclasses.replace(stays, keep_events=keep_events)))
    if not chosen:
        known = ", ".join(sorted(kind.name for kind in kinds))
        raise Misconfigured(
            f"there is no kind {only!r} in these modules: they have {known}"
            if only is not None
            else f"none of {known} has a retention: declare one, or name a kind with --kind"
        )
    return chosen


async def _archive(urls: str, to: str, chosen: list[tuple[Kind, Retention]]) -> list[dict[str, Archived]]:
    """What was done, by server and kind."""
    from runtime.archive.stores import open_store
    from runtime.clock import system_clock
    from runtime.host.archiver import Archiver
    from runtime.postgres.archive_log import PostgresArchiveLog
    from runtime.postgres.reading import PostgresReader
    from runtime.postgres.snapshots import PostgresSnapshots

    store = open_store(to)

    async def job(there: PostgresSegments) -> dict[str, Archived]:
        url = there.url
        reader, snapshots = PostgresReader(url, await there.partitions()), PostgresSnapshots(url)
        archiver = Archiver(PostgresArchiveLog(url), reader, snapshots, store, system_clock)
        try:
            lanes = await there.lanes()
            return {kind.name: await archiver.run(kind, lanes, retention) for kind, retention in chosen}
        finally:
            for one in (archiver, reader, snapshots):
                await one.close()

    return await _with_segments(urls, job)


async def _with_segments(urls: str, job: Callable[[PostgresSegments], Awaitable[T]]) -> list[T]:
    """What the job gives at each of the servers, one after the other."""
    from runtime.host.places import servers_of
    from runtime.host.ports import LogUnavailable
    from runtime.postgres.segments import PostgresSegments

    done = []
    for url in servers_of(urls):
        there = PostgresSegments(url)
        try:
            done.append(await job(there))
        except LogUnavailable as error:
            raise NotConnected(str(error)) from error
        finally:
            await there.close()
    return done


def _summed(servers: list[dict[str, Archived]]) -> dict[str, Archived]:
    """What was done at all servers together, by kind."""
    done = servers[0]
    for other in servers[1:]:
        for kind, more in other.items():
            for field in dataclasses.fields(more):
                setattr(done[kind], field.name, getattr(done[kind], field.name) + getattr(more, field.name))
    return done


def _nobodys(servers: list[dict[str, list[str]]]) -> list[str]:
    """URLs of files that no server knows, of the names (by store) that each one does not know."""
    stores = sorted({store for unknown in servers for store in unknown})
    return [
        f"{store}/{name}"
        for store in stores
        for name in sorted(set.intersection(*[set(unknown[store]) for unknown in servers if store in unknown]))
    ]


def _state(segment: SegmentInfo) -> str:
    return "archived" if segment.live else "restored"
