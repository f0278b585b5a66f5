"""`runtime tenants`: of which tenants more waits than their share, and how much may."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import typer

from runtime.cli.options import AsJson, DataDir, TimeoutS, examples
from runtime.cli.output import print_json, print_table
from runtime.cli.reach import Reach

if TYPE_CHECKING:
    from runtime.client import Client
    from schemas.backlog import Backlog


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(epilog=examples("runtime tenants", "runtime tenants --json"))(tenants)


def tenants(data: DataDir = None, timeout_s: TimeoutS = 10.0, as_json: AsJson = False) -> None:
    """Show the tenants that are read apart from others, since they bring more than their share.

    WAITING are commands that are not done, in the lanes where the tenant is read apart, LIMIT how many there may be
    (RUNTIME_TENANT_BACKLOG of the pods): above it new ones are refused. Nobody is here while no lane is crowded.
    """

    async def listen(client: Client) -> list[Backlog]:
        import msgspec

        from schemas.backlog import SAID_EVERY_S, Backlog
        from schemas.subjects import backlog

        heard: dict[tuple[str, str], Backlog] = {}

        def hear(subject: str, reply: str, body: bytes, headers: bytes) -> None:
            word = msgspec.json.decode(body, type=Backlog)
            heard[word.tenant, word.pod] = word

        await client.connection.subscribe_direct(backlog("*"), hear)
        await asyncio.sleep(2 * SAID_EVERY_S)
        return [word for word in heard.values() if word.waiting]

    words = Reach(data, None, timeout_s).run(listen)
    found = [
        {
            "tenant": tenant,
            "waiting": sum([word.waiting for word in words if word.tenant == tenant]),
            "limit": max([word.limit for word in words if word.tenant == tenant]) or None,
            "pods": len([word for word in words if word.tenant == tenant]),
        }
        for tenant in sorted({word.tenant for word in words})
    ]
    if as_json:
        print_json({"tenants": found})
        return
    columns = ["tenant", "waiting", "limit", "pods"]
    rows = [[one[name] for name in columns] for one in found]
    print_table([name.upper() for name in columns], rows, empty="no tenant is read apart from others")
