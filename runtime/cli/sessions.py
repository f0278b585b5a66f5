"""`runtime sessions`: a conversation as JSON lines, what a model was sent, and the end of those that are old."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runtime.cli.moments import shown
from runtime.cli.options import AsJson, DataDir, Tenant, TimeoutS, examples
from runtime.cli.output import print_json, print_line, print_table
from runtime.cli.reach import Reach

if TYPE_CHECKING:
    from runtime.client import Client

KIND = "session"
PAGE = 200
DAY_S = 86_400.0

Session = Annotated[str, typer.Argument(metavar="SESSION", help="The session's key.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    sessions = typer.Typer(help="Conversations.", no_args_is_help=True, rich_markup_mode=None)
    for command, *lines in (
        (export, "runtime sessions export s1 > s1.jsonl", "runtime sessions export s1 --forgotten --json"),
        (prompt, "runtime sessions prompt s1 5d41402abc4b2a76", "runtime sessions prompt s1 5d41402abc4b2a76 --call 1"),
        (expire, "runtime sessions expire --idle-days 90", "runtime sessions expire --idle-days 90 --delete --json"),
    ):
        sessions.command(command.__name__, epilog=examples(*lines))(command)
    app.add_typer(sessions, name="sessions")


def export(
    session: Session,
    forgotten: Annotated[bool, typer.Option("--forgotten", help="Also what was pruned; the log has it.")] = False,
    tenant: Tenant = None,
    data: DataDir = None,
    timeout_s: TimeoutS = 10.0,
    as_json: AsJson = False,
) -> None:
    """Print a session's messages, one line of JSON each, in order. (With --json it is the same.)"""

    async def read(client: Client) -> None:
        after = 0
        while True:
            asked = {"after": after, "limit": PAGE, "forgotten": forgotten}
            lines = await client.query(KIND, session, "history", asked, timeout_s=timeout_s)
            for line in lines:
                print_json(line)
            if len(lines) < PAGE:
                return
            after = lines[-1]["number"]

    Reach(data, tenant, timeout_s).run(read)


def prompt(
    session: Session,
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run, as the messages name it (history).")],
    call: Annotated[int, typer.Option("--call", min=0, help="Which call of the run; the last one by default.")] = 0,
    tenant: Tenant = None,
    data: DataDir = None,
    timeout_s: TimeoutS = 10.0,
    as_json: AsJson = False,
) -> None:
    """Show what a model was sent in a call of a run, made again from the log."""
    sent: dict[str, Any] = Reach(data, tenant, timeout_s).run(
        lambda client: client.query(KIND, session, "prompt", {"run": run, "call": call}, timeout_s=timeout_s)
    )
    if as_json:
        print_json(sent)
        return
    print_line(f"call {sent['call']} of {sent['calls']}, of agent {sent['agent']}, to {sent['model']}")
    for message in [*sent["messages"], sent["said"]]:
        print_line(f"-- {message['role']}")
        print_line(message.get("content", ""))
        for call_ in message.get("tool_calls", ()):
            print_line(f"calls {call_['name']} {call_['arguments']}")
    if cut := sent.get("cut"):
        print_line(f"-- left out for want of room: {', '.join(cut)}")


def expire(
    idle_days: Annotated[float, typer.Option("--idle-days", min=0, help="Days since the last message.")],
    delete: Annotated[bool, typer.Option("--delete", help="Delete them, with all their events.")] = False,
    tenant: Tenant = None,
    data: DataDir = None,
    timeout_s: TimeoutS = 10.0,
    as_json: AsJson = False,
) -> None:
    """List the sessions in which nothing was said for so long, and with --delete delete them for good.

    One that is at work is left alone. To have it done each day, call it from a scheduler.
    """

    async def end(client: Client) -> list[dict[str, Any]]:
        before = time.time() - idle_days * DAY_S
        found = []
        async for key in _keys(client, timeout_s):
            status = await client.query(KIND, key, "status", timeout_s=timeout_s)
            at = status.get("at", 0.0)
            if not status["said"] or at >= before or status["running"] or status["waiting"]:
                continue
            if delete:
                await client.delete(KIND, key, reason=f"nothing was said for {idle_days:g} days", timeout_s=timeout_s)
            found.append({"session": key, "messages": status["said"], "at": at, "deleted": delete})
        return found

    found = Reach(data, tenant, timeout_s).run(end)
    if as_json:
        print_json({"sessions": found})
        return
    rows = [(one["session"], one["messages"], shown(one["at"]), "yes" if one["deleted"] else "no") for one in found]
    print_table(["session", "messages", "last", "deleted"], rows, empty="no session is so old")


async def _keys(client: Client, timeout_s: float) -> Any:
    after = ("", "")
    while True:
        asked = {"tenant": client.tenant, "kind": KIND, "after_key": after, "limit": 100}
        page = await client.service("actors", asked, timeout_s=timeout_s)
        for one in page["actors"]:
            after = one["kind"], one["key"]
            yield one["key"]
        if not page["more"]:
            return
