"""`runtime dead`: commands that failed for good and wait for a person."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from runtime.cli.options import AsJson, By, DataDir, Limit, OnlyKey, OnlyKind, Reason, Tenant, TimeoutS, examples
from runtime.cli.output import print_json, print_line, print_table
from runtime.cli.reach import Reach
from runtime.errors import CallFailed

if TYPE_CHECKING:
    from runtime.client import Client

_Id = Annotated[int, typer.Argument(help="The dead letter's number.")]
_Ids = Annotated[list[int], typer.Argument(metavar="ID", help="The dead letters' numbers.")]
_COLUMNS = ("id", "kind", "key", "method", "code", "attempts", "parked_at", "status", "error")


class Status(StrEnum):
    """What became of a dead letter."""

    PARKED = "parked"
    REPLAYED = "replayed"
    DROPPED = "dropped"
    ALL = "all"


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    dead = typer.Typer(
        help="Commands that failed and wait for a person.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    dead.command("list", epilog=examples("runtime dead list --kind account"))(list_)
    dead.command(epilog=examples("runtime dead show 17"))(show)
    dead.command(epilog=examples('runtime dead replay 17 18 --reason "fixed in 2.1"'))(replay)
    dead.command(epilog=examples('runtime dead drop 17 --reason "sent twice by hand"'))(drop)
    app.add_typer(dead, name="dead")


def list_(
    kind: OnlyKind = None,
    key: OnlyKey = None,
    status: Annotated[Status, typer.Option("--status", help="Only those.")] = Status.PARKED,
    after: Annotated[int, typer.Option("--after", min=0, help="Begin behind this number: the next page.")] = 0,
    limit: Limit = 100,
    tenant: Tenant = None,
    data: DataDir = None,
    timeout_s: TimeoutS = 10.0,
    as_json: AsJson = False,
) -> None:
    """List dead letters by their numbers; those that still wait, if nothing else is asked for."""

    async def ask(client: Client) -> dict[str, Any]:
        question: dict[str, Any]
        wanted = None if status is Status.ALL else status.value
        question = {"tenant": client.tenant, "kind": kind, "key": key, "status": wanted}
        question |= {"after_id": after, "limit": limit}
        found: dict[str, Any] = await client.service("dead", question, timeout_s=timeout_s)
        return found

    found = Reach(data, tenant, timeout_s).run(ask)
    if as_json:
        print_json(found)
        return
    rows = [[letter[name] for name in _COLUMNS] for letter in found["letters"]]
    print_table([name.upper() for name in _COLUMNS], rows, empty="no dead letters")
    if found["more"]:
        print_line(f"more: add --after {found['letters'][-1]['id']}")


def show(
    id: _Id, tenant: Tenant = None, data: DataDir = None, timeout_s: TimeoutS = 10.0, as_json: AsJson = False
) -> None:
    """Show one dead letter with its headers and body."""
    letter = Reach(data, tenant, timeout_s).run(lambda client: _letter(client, id, timeout_s))
    if as_json:
        print_json(letter)
        return
    for name, value in letter.items():
        if value is not None:
            print_line(f"{name:12}  {value}")


def replay(
    ids: _Ids,
    by: By = None,
    reason: Reason = "",
    tenant: Tenant = None,
    data: DataDir = None,
    timeout_s: TimeoutS = 10.0,
    as_json: AsJson = False,
) -> None:
    """Give dead letters to their actors once more, in this order, each as the same command."""
    _resolve("replay", ids, by, reason, Reach(data, tenant, timeout_s), as_json=as_json)


def drop(
    ids: _Ids,
    by: By = None,
    reason: Reason = "",
    tenant: Tenant = None,
    data: DataDir = None,
    timeout_s: TimeoutS = 10.0,
    as_json: AsJson = False,
) -> None:
    """Settle dead letters without another attempt. They stay in the list of the dropped."""
    _resolve("drop", ids, by, reason, Reach(data, tenant, timeout_s), as_json=as_json)


def _resolve(
    what: Literal["replay", "drop"],
    ids: list[int],
    by: str | None,
    reason: str,
    reach: Reach,
    *,
    as_json: bool,
) -> None:
    from runtime.client.orders import settle

    done = "replayed" if what == "replay" else "dropped"

    async def resolve(client: Client) -> None:
        for id in ids:
            letter = await _letter(client, id, reach.timeout_s)
            kind, key = letter["kind"], letter["key"]
            await settle(client, id, kind, key, what, by, reason, timeout_s=reach.timeout_s)
            if not as_json:
                print_line(f"{done} {id}: {letter['method']} of {kind}/{key}")

    reach.run(resolve)
    if as_json:
        print_json({done: ids})


async def _letter(client: Client, id: int, timeout_s: float) -> dict[str, Any]:
    found = await client.service("dead", {"tenant": client.tenant, "id": id}, timeout_s=timeout_s)
    letter: dict[str, Any] | None = found["letter"]
    if letter is None:
        raise CallFailed("not_found", f"tenant {client.tenant!r} has no dead letter {id}: see `runtime dead list`")
    return letter
