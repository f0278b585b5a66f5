"""`runtime actors`: run pods, and look at, call and hold single actors."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from runtime.cli.options import (
    AsJson,
    By,
    DataDir,
    Key,
    Kind,
    Limit,
    OnlyKind,
    Reason,
    Tenant,
    TimeoutS,
    examples,
)
from runtime.cli.output import as_text, clipped, print_json, print_line, print_table
from runtime.cli.reach import Reach
from runtime.errors import CallFailed, Misconfigured

if TYPE_CHECKING:
    from runtime.client import Client, Envelope
    from schemas.wire import Capability, LogEvent, Method


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    actors = typer.Typer(
        help="Run pods; list, describe, call, watch and hold actors.", no_args_is_help=True, rich_markup_mode=None
    )
    for command, *lines in (
        (
            up,
            "runtime actors up bank --pods 2",
            "runtime actors up shop.orders shop.stock --group shop",
            "runtime actors up bank --version v2",
        ),
        (kinds, "runtime actors kinds"),
        (list_, "runtime actors list --kind account --limit 20"),
        (describe, "runtime actors describe account alice"),
        (
            call,
            "runtime actors call account alice deposit amount=10",
            "runtime actors call account alice withdraw '{\"amount\": 3}' --id order-7",
            "runtime actors call account alice balance",
        ),
        (tail, "runtime actors tail account alice --from 1"),
        (pause, 'runtime actors pause account alice --reason "looking into ticket 12"'),
        (resume, "runtime actors resume account alice"),
        (delete, 'runtime actors delete account alice --reason "she asked for it"'),
        (skip, 'runtime actors skip account alice --reason "its partner is gone"'),
    ):
        actors.command(command.__name__.rstrip("_"), epilog=examples(*lines))(command)
    app.add_typer(actors, name="actors")


def up(
    modules: Annotated[list[str], typer.Argument(metavar="MODULE", help="Modules that define kinds of actors.")],
    pods: Annotated[int, typer.Option("--pods", min=1, max=64, help="How many pods, each a process.")] = 1,
    group: Annotated[
        str | None, typer.Option("--group", envvar="RUNTIME_GROUP", show_envvar=True, help="The pods' group.")
    ] = None,
    version: Annotated[
        str | None,
        typer.Option(
            "--version",
            help="Pin this version: the pods are a group of this name (or of --group's), which stands by until it is "
            "promoted. Kept with every event.",
        ),
    ] = None,
    data: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Run pods with these modules, here, until Ctrl-C.

    A pod that dies is started again; SIGTERM ends all in order. Pods of one group share its work, whatever their code;
    a group whose kinds are another group's stands by until `runtime groups promote`.

    Without RUNTIME_NATS_URL and RUNTIME_POSTGRES_URL, the embedded servers of the data directory are used: those that
    run, or else our own, which end with this command.
    """
    from runtime.cli.formation import Formation

    formation = Formation(data, as_json=as_json)
    formation.add_pods(pods, "pod", modules, group or version, version)
    formation.run()


def kinds(data: DataDir = None, timeout_s: TimeoutS = 10.0, as_json: AsJson = False) -> None:
    """List the kinds that pods serve, with their methods."""
    found = Reach(data, None, timeout_s).run(lambda client: _capabilities(client, timeout_s))
    if as_json:
        print_json({"kinds": found})
        return
    rows = [
        (kind.kind, kind.type, kind.group, kind.code_version, method.flavor, method.name, _parameters(method))
        for kind in found
        for method in kind.methods
    ]
    print_table(
        ("KIND", "TYPE", "GROUP", "VERSION", "FLAVOR", "METHOD", "ARGUMENTS"), rows, empty="no pod serves a kind yet"
    )


def list_(
    kind: OnlyKind = None,
    after: Annotated[
        str | None, typer.Option("--after", metavar="KIND/KEY", help="Begin behind this actor: the next page.")
    ] = None,
    limit: Limit = 100,
    tenant: Tenant = None,
    data: DataDir = None,
    timeout_s: TimeoutS = 10.0,
    as_json: AsJson = False,
) -> None:
    """List the actors that have events, by kind and key."""
    after_kind, _, after_key = (after or "/").partition("/")
    if after is not None and not after_key:
        raise Misconfigured(f"--after {after!r} names no actor: write KIND/KEY, as in the last line of the page before")

    async def ask(client: Client) -> dict[str, Any]:
        question = {"tenant": client.tenant, "kind": kind, "after_key": (after_kind, after_key), "limit": limit}
        found: dict[str, Any] = await client.service("actors", question, timeout_s=timeout_s)
        return found

    found = Reach(data, tenant, timeout_s).run(ask)
    if as_json:
        print_json(found)
        return
    rows = [(one["kind"], one["key"], one["seq"], one["partition"], one["created_at"]) for one in found["actors"]]
    print_table(("KIND", "KEY", "EVENTS", "PARTITION", "SINCE"), rows, empty="no actors yet")
    if found["more"]:
        last = found["actors"][-1]
        print_line(f"more: add --after {last['kind']}/{last['key']}")


def describe(
    kind: Kind,
    key: Key,
    tenant: Tenant = None,
    data: DataDir = None,
    timeout_s: TimeoutS = 10.0,
    as_json: AsJson = False,
) -> None:
    """Show one actor: state, lane, what waits, timers."""

    async def ask(client: Client) -> dict[str, Any]:
        from runtime.client.failures import decode_as

        reply = await client.read(kind, key, "$describe", b"", timeout_s=timeout_s)
        found: dict[str, Any] = decode_as(reply.result, dict[str, Any])
        return found

    found = Reach(data, tenant, timeout_s).run(ask)
    if as_json:
        print_json(found)
    else:
        _print_actor(found)


def call(
    kind: Kind,
    key: Key,
    method: Annotated[str, typer.Argument(help="A method of the kind: see `runtime actors kinds`.")],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="ARGUMENTS", help="One JSON value, name=value pairs, @FILE, or - for stdin."),
    ] = None,
    id: Annotated[
        str | None, typer.Option("--id", help="The command's id: calling again with it gives the recorded answer.")
    ] = None,
    session: Annotated[str | None, typer.Option("--session", help="The session whose stream shows the facts.")] = None,
    tags: Annotated[list[str] | None, typer.Option("--tag", help="A word to find its run by; may be repeated.")] = None,
    queue_timeout_s: Annotated[
        float | None, typer.Option("--queue-timeout", help="Seconds after which a run that has not begun is ended.")
    ] = None,
    run_timeout_s: Annotated[
        float | None, typer.Option("--run-timeout", help="Seconds after which the run is ended, over all attempts.")
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait for the answer, or end once the broker has the command.")
    ] = True,
    delay: Annotated[
        float | None, typer.Option("--delay", min=0, help="Seconds before which it does not begin.")
    ] = None,
    stream: Annotated[bool, typer.Option("--stream", help="Print what a generator yields, a line a value.")] = False,
    tenant: Tenant = None,
    data: DataDir = None,
    timeout_s: TimeoutS = 30.0,
    as_json: AsJson = False,
) -> None:
    """Call an actor and print what it answers, as JSON.

    Ends with 4 when the actor rejects the command, and with 5 when no answer comes in time: the command may then still
    be processed, and calling again with the same --id is safe.
    """
    from runtime.cli.arguments import body_of
    from runtime.client import Envelope

    body = body_of(arguments or [])
    envelope = Envelope(
        session=session,
        delay_s=delay,
        tags=tags or (),
        queue_timeout_s=queue_timeout_s,
        run_timeout_s=run_timeout_s,
    )

    async def ask(client: Client) -> dict[str, Any]:
        found = _method(await _capabilities(client, timeout_s), kind, method)
        if found.flavor == "query":
            reply = await client.read(kind, key, method, body, timeout_s=timeout_s)
            return {"seq": reply.seq, "result": reply.result}
        return await _send(client, (kind, key, method), body, envelope, id=id, wait=wait, timeout_s=timeout_s)

    async def follow(client: Client) -> dict[str, Any]:
        _method(await _capabilities(client, timeout_s), kind, method)
        run = await client.submit_body(kind, key, method, body, id=id, timeout_s=timeout_s, envelope=envelope)
        async with aclosing(client.values(run)) as values:
            async for number, value in values:
                if as_json:
                    print_json({"number": number, "value": value})
                else:
                    print_line(as_text(value))
        return {}

    answered = Reach(data, tenant, timeout_s).run(follow if stream else ask)
    if stream:
        return
    if as_json:
        print_json(answered)
    elif "result" in answered:
        print_line(as_text(answered["result"]))
    else:
        print_line(f"stored as {answered['id']}; see the answer with: runtime runs show {answered['run']}")


def tail(
    kind: Kind,
    key: Key,
    from_seq: Annotated[int, typer.Option("--from", min=1, help="Begin with this event of the actor.")] = 1,
    count: Annotated[int | None, typer.Option("--count", min=1, help="End after so many events.")] = None,
    tenant: Tenant = None,
    data: DataDir = None,
    timeout_s: TimeoutS = 10.0,
    as_json: AsJson = False,
) -> None:
    """Print an actor's events as they are committed, until Ctrl-C."""

    async def follow(client: Client) -> None:
        await asyncio.wait_for(client.check_kind(kind), timeout_s)
        left = count
        async with aclosing(client.tail(kind, key, from_seq=from_seq)) as events:
            async for event in events:
                _print_event(event, as_json=as_json)
                left = None if left is None else left - 1
                if left == 0:
                    return

    try:
        Reach(data, tenant, timeout_s).run(follow)
    except TimeoutError as error:
        raise CallFailed("unavailable", f"no pod answered within {timeout_s:g} s: see that pods run") from error


def pause(
    kind: Kind,
    key: Key,
    by: By = None,
    reason: Reason = "",
    tenant: Tenant = None,
    data: DataDir = None,
    timeout_s: TimeoutS = 10.0,
    as_json: AsJson = False,
) -> None:
    """Hold an actor: its commands wait until it is resumed.

    They wait in their order. Reads go on.
    """
    _order("pause", (kind, key), by, reason, Reach(data, tenant, timeout_s), as_json=as_json)


def resume(
    kind: Kind,
    key: Key,
    by: By = None,
    reason: Reason = "",
    tenant: Tenant = None,
    data: DataDir = None,
    timeout_s: TimeoutS = 10.0,
    as_json: AsJson = False,
) -> None:
    """Let a held actor go on with what waits for it."""
    _order("resume", (kind, key), by, reason, Reach(data, tenant, timeout_s), as_json=as_json)


def skip(
    kind: Kind,
    key: Key,
    by: By = None,
    reason: Reason = "",
    tenant: Tenant = None,
    data: DataDir = None,
    timeout_s: TimeoutS = 10.0,
    as_json: AsJson = False,
) -> None:
    """Put what holds an actor's key among the dead letters, and let the next command go on.

    There it can be replayed (`runtime dead replay`, or `runtime runs retry`) or dropped.
    """
    _order("skip", (kind, key), by, reason, Reach(data, tenant, timeout_s), as_json=as_json)


def delete(
    kind: Kind,
    key: Key,
    by: By = None,
    reason: Reason = "",
    force: Annotated[bool, typer.Option("--force", help="Also one that works: what is not done is ended.")] = False,
    tenant: Tenant = None,
    data: DataDir = None,
    timeout_s: TimeoutS = 60.0,
    as_json: AsJson = False,
) -> None:
    """Delete an actor with its history: events, state, runs, dead letters, timers, and what waits for it.

    One event stays, which says who did it. Segments of the archive stay as they are, and are named.
    """
    deleted = Reach(data, tenant, timeout_s).run(
        lambda client: client.delete(kind, key, by=by, reason=reason, force=force, timeout_s=timeout_s)
    )
    if as_json:
        from msgspec import to_builtins

        print_json(to_builtins(deleted))
        return
    print_line(f"deleted {kind}/{key}: {deleted.events} events, {deleted.ended} commands that were not done")
    for segment in deleted.archived:
        print_line(f"{segment.url} still holds events {segment.first_seq} to {segment.last_seq}")


def _order(
    what: Literal["pause", "resume", "skip"],
    actor: tuple[str, str],
    by: str | None,
    reason: str,
    reach: Reach,
    *,
    as_json: bool,
) -> None:
    from runtime.client.orders import order

    answer = reach.run(lambda client: order(client, *actor, what, by, reason, timeout_s=reach.timeout_s))
    if as_json:
        print_json(answer)
    else:
        print_line(f"{_DONE[what]} {actor[0]}/{actor[1]}")


_DONE = {"pause": "paused", "resume": "resumed", "skip": "skipped what held the key of"}


async def _capabilities(client: Client, timeout_s: float) -> list[Capability]:
    from schemas.wire import Capability

    found: list[Capability] = await client.service("capabilities", type=list[Capability], timeout_s=timeout_s)
    return found


def _method(known: list[Capability], kind: str, method: str) -> Method:
    for capability in known:
        if capability.kind == kind:
            for found in capability.methods:
                if found.name == method:
                    return found
            names = ", ".join(sorted(one.name for one in capability.methods))
            raise CallFailed("unknown_method", f"kind {kind!r} has no method {method!r}; it has {names}")
    names = ", ".join(sorted(capability.kind for capability in known)) or "none"
    raise CallFailed("unknown_kind", f"no pod serves kind {kind!r}; there are {names}")


async def _send(
    client: Client,
    address: tuple[str, str, str],
    body: bytes,
    envelope: Envelope,
    *,
    id: str | None,
    wait: bool,
    timeout_s: float,
) -> dict[str, Any]:
    from runtime.client.failures import error_of

    if not wait:
        run = await client.submit_body(*address, body, id=id, timeout_s=timeout_s, envelope=envelope)
        return {"id": run.command_id, "run": run.id}
    reply = await client.call(*address, body, id=id, timeout_s=timeout_s, envelope=envelope)
    if reply.error is not None:
        raise error_of(reply.error)
    return {"id": reply.id, "seq": reply.seq, "result": reply.result, "repeated": reply.repeated}


def _parameters(method: Method) -> str:
    schema = method.arguments
    if "$ref" in schema:
        schema = schema.get("$defs", {}).get(schema["$ref"].rpartition("/")[2], {})
    needed = schema.get("required", ())
    return ", ".join(name if name in needed else f"[{name}]" for name in schema.get("properties", ()))


def _print_event(event: LogEvent, *, as_json: bool) -> None:
    if as_json:
        print_json(event)
    else:
        print_line(f"{event.seq:>6}  {event.at}  {event.type}  {clipped(as_text(event.payload), 400)}")


def _print_actor(found: dict[str, Any]) -> None:
    address = found["address"]
    print_line(f"{address['kind']}/{address['key']} of tenant {address['tenant']}")
    if "unreadable" in found:
        print_line(f"  unreadable  {found['unreadable']}")
    else:
        print_line(f"  state       {as_text(found['state'])}")
        print_line(f"  events      {found['seq']}")
    paused = found["paused"]
    if paused:
        by = f" by {paused['by']}" if paused["by"] else ""
        print_line(f"  paused      since {paused['since']}{by}: {paused['reason'] or 'no reason given'}")
    held = found["held_by"]
    if held:
        error = f", after: {held['error']}" if held["error"] else ""
        print_line(
            f"  held by     {held['method']} (command {held['command_id']}), {held['state']}, since {held['since']}, "
            f"attempt {held['attempts']}{error}"
        )
        behind = sum(1 for row in found["pending"] if row["holds"]) - 1
        print_line(f"  waiting     {behind if behind < 99 else '99 or more'} behind it")
    snapshot = found["snapshot"]
    print_line(f"  snapshot    {'at event ' + str(snapshot['seq']) if snapshot else 'none'}")
    print_line(f"  in memory   {'yes' if found['active'] else 'no'}")
    print_line(f"  lane        {found['lane']}, epoch {found['epoch']}")
    print_line(f"  id          {found['actor']}")
    for title, columns in (
        ("pending", ("command_id", "method", "state", "attempts", "since", "error")),
        ("timers", ("name", "method", "due_at")),
    ):
        if found[title]:
            print_line("")
            print_line(f"{title}:")
            print_table([name.upper() for name in columns], [[row[name] for name in columns] for row in found[title]])
