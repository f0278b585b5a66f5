"""`runtime db`: the log's schema."""

from __future__ import annotations

import asyncio

import typer

from runtime.cli.options import AsJson, DataDir, examples
from runtime.cli.output import print_json, print_line
from runtime.cli.reach import postgres_url


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    db = typer.Typer(help="The log's schema.", no_args_is_help=True, rich_markup_mode=None)
    db.callback()(_group)  # one command alone would otherwise take the place of the group
    db.command(epilog=examples("RUNTIME_POSTGRES_URL=postgresql://… runtime db migrate"))(migrate)
    app.add_typer(db, name="db")


def _group() -> None:
    """The log's schema in Postgres."""


def migrate(data: DataDir = None, as_json: AsJson = False) -> None:
    """Bring the log's schema to this version. Safe to repeat, and from many places at once; pods do it as well."""
    from runtime.host.places import Place, servers_of
    from runtime.postgres.migrate import migrate
    from runtime.postgres.placing import claim

    async def bring() -> list[str]:
        servers, names = servers_of(postgres_url(data)), []
        for number, url in enumerate(servers):
            names += await migrate(url)
            if len(servers) > 1:
                await claim(Place(servers, number))
        return names

    applied = asyncio.run(bring())
    if as_json:
        print_json({"applied": applied})
        return
    for name in applied:
        print_line(f"applied {name}")
    if not applied:
        print_line("the schema is up to date")
