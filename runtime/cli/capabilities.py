"""`runtime capabilities`: what sentences are answered, and how well they are told apart."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runtime.cli.options import AsJson, DataDir, TimeoutS, examples
from runtime.cli.output import print_json, print_line, print_table
from runtime.cli.reach import Reach

if TYPE_CHECKING:
    from runtime.client import Client
    from schemas.wire import Capability


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    capabilities = typer.Typer(
        help="What sentences are answered, and by whom.", no_args_is_help=True, rich_markup_mode=None
    )
    capabilities.command("list", epilog=examples("runtime capabilities list"))(list_)
    capabilities.command(epilog=examples("runtime capabilities evaluate utterances.yaml"))(evaluate)
    app.add_typer(capabilities, name="capabilities")


def list_(data: DataDir = None, timeout_s: TimeoutS = 10.0, as_json: AsJson = False) -> None:
    """List what the router picks from: every kind that answers sentences, on any pod."""

    async def ask(client: Client) -> list[Capability]:
        from schemas.wire import Capability

        found: list[Capability] = await client.service("capabilities", type=list[Capability], timeout_s=timeout_s)
        return [one for one in found if one.skill is not None]

    found = Reach(data, None, timeout_s).run(ask)
    if as_json:
        shown = [{"name": one.kind, "group": one.group, "served": one.served, "skill": one.skill} for one in found]
        print_json({"capabilities": shown})
        return
    rows = [(one.kind, one.group, one.served, one.skill.description) for one in found if one.skill is not None]
    print_table(("NAME", "GROUP", "SERVED", "WHAT IT DOES"), rows, empty="no pod serves a capability yet")


def evaluate(
    file: Annotated[Path, typer.Argument(help="Capabilities and utterances: see docs/agents.md for its form.")],
    misses: Annotated[bool, typer.Option("--misses/--no-misses", help="Print what went wrong as well.")] = True,
    as_json: AsJson = False,
) -> None:
    """Judge the classifier that works without a model, by utterances of your own.

    Needs no server. What is counted as right: the meant capability was picked, or none where nothing fits.
    """
    from actors.router.evaluation import evaluate as judged
    from actors.router.evaluation import load

    report = judged(load(file))
    if as_json:
        print_json(report)
        return
    if misses and report.misses:
        rows = [(miss.confidence, miss.meant, miss.picked, miss.text) for miss in report.misses]
        print_table(("CONFIDENCE", "MEANT", "PICKED", "UTTERANCE"), [(f"{one[0]:.2f}", *one[1:]) for one in rows])
    print_line(
        f"{report.accuracy:.1%} right: {report.found} of {report.fitting} that fit, "
        f"{report.left} of {report.nothing} that fit nothing"
    )
