"""`runtime partitions`: who owns what, and how far each lane has come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from runtime.cli.options import AsJson, DataDir, TimeoutS, examples
from runtime.cli.output import print_json, print_line, print_table
from runtime.cli.reach import Reach

if TYPE_CHECKING:
    from runtime.client import Client


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(epilog=examples("runtime partitions", "runtime partitions --group payments --json"))(partitions)


def partitions(
    group: Annotated[str | None, typer.Option("--group", help="Only this group.")] = None,
    data: DataDir = None,
    timeout_s: TimeoutS = 10.0,
    as_json: AsJson = False,
) -> None:
    """Show who owns which lane, and how far it has come.

    A lane is a group's share of one partition. LAG is how many messages of the whole stream lie behind the lane's
    checkpoint: an upper bound for those that are the lane's own. Lanes without traffic catch up every few seconds. A
    lane of a group that stands by has none.
    """

    async def look(client: Client) -> dict[str, Any]:
        from runtime.client.broker import last_sequence

        # The streams are looked at first: what a lane commits meanwhile makes its lag smaller, never negative.
        named = {group["stream"] for group in (await client.service("groups", timeout_s=timeout_s))["groups"]}
        ends = {name: await last_sequence(client.connection, name, timeout_s=timeout_s) for name in sorted(named)}
        found: dict[str, Any] = await client.service("partitions", timeout_s=timeout_s)
        return {"streams": [{"name": name, "last_sequence": end} for name, end in ends.items()]} | found

    found = Reach(data, None, timeout_s).run(look)
    last = {stream["name"]: stream["last_sequence"] for stream in found["streams"]}
    found["partitions"] = [lane for lane in found["partitions"] if group in (None, lane["group"])]
    found["pods"] = [pod for pod in found["pods"] if group in (None, pod["group"])]
    for lane in found["partitions"]:
        lane["lag"] = None if lane["standby"] else max(0, last.get(lane["stream"], 0) - lane["checkpoint"])
    if as_json:
        print_json(found)
    else:
        _print(found)


def _print(found: dict[str, Any]) -> None:
    lanes, pods = found["partitions"], found["pods"]
    columns = ["group", "partition", "owner", "epoch", "checkpoint", "lag", "pending", "outbox"]
    shown = [lane | {"owner": lane["owner"] if lane["alive"] else None} for lane in lanes]
    print_table(
        [name.upper() for name in columns], [[lane[name] for name in columns] for lane in shown], empty="no lanes yet"
    )
    print_line("")
    columns = ["id", "group", "host", "pid", "code_version", "expires_in_s", "leaving"]
    print_table([name.upper() for name in columns], [[pod[name] for name in columns] for pod in pods], empty="no pods")
    owned = sum(1 for lane in lanes if lane["alive"])
    alive = sum(1 for pod in pods if pod["expires_in_s"] > 0)
    ends = [f"stream {stream['name']} ends at {stream['last_sequence']}" for stream in found["streams"]]
    print_line("")
    for warning in found["warnings"]:
        print_line(f"warning: {warning}")
    print_line(
        f"{owned} of {len(lanes)} lanes have a live owner; {alive} pods live; {'; '.join(ends)}"
    )
