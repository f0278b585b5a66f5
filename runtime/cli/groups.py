"""`runtime groups`: which version serves what, the promotion of another one, and letting go of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from runtime.cli.options import AsJson, DataDir, TimeoutS, examples
from runtime.cli.output import print_json, print_line, print_table
from runtime.cli.reach import Reach

if TYPE_CHECKING:
    from runtime.client import Client


_LEFT = (("pending", "commands that wait"), ("outbox", "messages to send"), ("timers", "timers"))


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    groups = typer.Typer(
        help="Groups of pods: which is current for which kinds, and promoting a pinned version.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    groups.command("list", epilog=examples("runtime groups list", "runtime groups list --json"))(list_)
    groups.command(epilog=examples("runtime groups promote v2", "runtime groups promote v1 --without-kinds"))(promote)
    groups.command(epilog=examples("runtime groups retire v1"))(retire)
    app.add_typer(groups, name="groups")


def list_(data: DataDir = None, timeout_s: TimeoutS = 10.0, as_json: AsJson = False) -> None:
    """List the groups, with their kinds and pods.

    A group is current, or stands by: it is ready to be promoted once living pods own all its lanes. LAG is how many
    messages of the whole stream lie behind its last lane's checkpoint.
    """

    async def look(client: Client) -> dict[str, Any]:
        from runtime.client.broker import last_sequence

        found: dict[str, Any] = await client.service("groups", timeout_s=timeout_s)
        streams = {group["stream"] for group in found["groups"]}
        last = {name: await last_sequence(client.connection, name, timeout_s=timeout_s) for name in streams}
        for group in found["groups"]:
            group["state"] = _state(group)
            checkpoint = group["checkpoint"]
            group["lag"] = None if checkpoint is None else max(0, last[group["stream"]] - checkpoint)
        return found

    found = Reach(data, None, timeout_s).run(look)
    if as_json:
        print_json(found)
        return
    rows = [
        (
            one["group"],
            ", ".join(one["versions"]),
            one["state"],
            ", ".join(one["current"] or one["kinds"]),
            one["pods"],
            f"{one['lanes_owned']}/{one['lanes']}",
            one["lag"],
        )
        for one in found["groups"]
    ]
    print_table(("GROUP", "VERSION", "STATE", "KINDS", "PODS", "LANES", "LAG"), rows, empty="no groups yet")


def promote(
    group: Annotated[str, typer.Argument(help="The group to make the current one: see `runtime groups list`.")],
    without_kinds: Annotated[
        bool,
        typer.Option(
            "--without-kinds",
            help="Also when it lacks kinds of the group it replaces: their commands wait until a pod serves them.",
        ),
    ] = False,
    data: DataDir = None,
    timeout_s: TimeoutS = 30.0,
    as_json: AsJson = False,
) -> None:
    """Make a group the current one of its kinds, and let the group it replaces stand by.

    Waits until living pods own all its lanes. Nothing is lost or done twice; the way back is to promote the other group
    again, while its pods run.
    """

    async def ask(client: Client) -> dict[str, Any]:
        question = {"group": group, "without_kinds": without_kinds}
        done: dict[str, Any] = await client.service("promote", question, timeout_s=timeout_s)
        return done

    done = Reach(data, None, timeout_s).run(ask)
    if as_json:
        print_json(done)
    elif not done["promoted"]:
        print_line(f"group {group} is the current one of {', '.join(done['kinds'])} already")
    else:
        instead = f", and group {done['replaced']} stands by" if done["replaced"] else ""
        print_line(f"group {group} is the current one of {', '.join(done['kinds'])}{instead}")


def retire(
    group: Annotated[str, typer.Argument(help="The group that nobody runs any more: see `runtime groups list`.")],
    data: DataDir = None,
    timeout_s: TimeoutS = 10.0,
    as_json: AsJson = False,
) -> None:
    """Keep the stream no longer for a group that nobody runs.

    Its commands that were not done become dead letters when the stream is trimmed past them. A pod that starts in the
    group takes it up again. Refused while a pod of it lives.
    """

    async def ask(client: Client) -> dict[str, Any]:
        done: dict[str, Any] = await client.service("retire", {"group": group}, timeout_s=timeout_s)
        return done

    done = Reach(data, None, timeout_s).run(ask)
    if as_json:
        print_json(done)
        return
    print_line(f"group {group} is retired" + (f"; nobody serves {', '.join(done['kinds'])}" if done["kinds"] else ""))
    left = [f"{done[what]} {text}" for what, text in _LEFT if done[what]]
    if left:
        print_line(f"a pod of it would go on with {', '.join(left)}")


def _state(group: dict[str, Any]) -> str:
    if group["retired_at"]:
        return "retired"
    if group["current"]:
        return "current"
    if not group["standby"]:
        return "idle"
    return "ready" if group["ready"] else "standby"
