"""`runtime fleet`: which model does what, whether it answers, and what it costs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from runtime.cli.exits import ExitCode
from runtime.cli.options import AsJson, examples
from runtime.cli.output import clipped, print_json, print_line, print_table
from runtime.errors import Misconfigured

File = Annotated[
    Path | None,
    typer.Option(
        "--file", envvar="RUNTIME_FLEET", show_envvar=True, help="The fleet's file (default: fleet.yaml, if there is).",
    ),
]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    fleet = typer.Typer(
        help="Which model does what, whether it answers, and what it costs.", rich_markup_mode=None
    )
    fleet.callback(
        invoke_without_command=True, epilog=examples("runtime fleet", "runtime fleet --no-ask --file shop/fleet.yaml")
    )(show)
    fleet.command(epilog=examples("runtime fleet apply --strategy budget"))(apply)
    app.add_typer(fleet, name="fleet")


def show(
    context: typer.Context,
    file: File = None,
    ask: Annotated[bool, typer.Option("--ask/--no-ask", help="Whether to ask each model a short question.")] = True,
    timeout_s: Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds for each answer.")] = 60.0,
    as_json: AsJson = False,
) -> None:
    """Show what each slot resolves to, whether it answers, and what a thousand tokens cost.

    Each model is asked a real question of a few tokens. Ends with 1 when one of them does not answer.
    """
    if context.invoked_subcommand is not None:
        return
    from actors.models.checking import check
    from actors.models.current import Reach, named_fleet

    fleet, path = named_fleet(file)
    found = asyncio.run(check(fleet, Reach(), ask=ask, timeout_s=timeout_s))
    if as_json:
        print_json({"file": None if path is None else str(path), "models": found})
    else:
        answers = {None: "not asked", True: "yes", False: "no"}
        rows = [
            (one.slot, one.place, one.model, one.api_base, answers[one.answers], _usd(one.prompt_usd),
             _usd(one.completion_usd))
            for one in found
        ]  # fmt: skip
        print_table(("SLOT", "PLACE", "MODEL", "AT", "ANSWERS", "USD/1K IN", "USD/1K OUT"), rows)
        for problem in dict.fromkeys(one.problem for one in found if one.problem):
            print_line(clipped(problem, 300))
        if path is None:
            print_line("there is no fleet.yaml: the built-in offline model serves every slot")
    if any(one.answers is False for one in found):
        raise typer.Exit(ExitCode.FAILED)


def apply(
    strategy: Annotated[str, typer.Option("--strategy", help="best, budget or local.")],
    file: File = None,
    as_json: AsJson = False,
) -> None:
    """Write recommended models into the fleet's file; what else it says is kept."""
    from actors.models import recommended
    from actors.models.current import FILE

    if strategy not in recommended.STRATEGIES:
        raise Misconfigured(f"there is no strategy {strategy!r}: there are {', '.join(recommended.STRATEGIES)}")
    path = file or Path(FILE)
    models = recommended.apply(path, strategy)
    known = recommended.recommendations()
    if as_json:
        print_json({"file": str(path), "models": models, "source": known.source, "date": known.date})
        return
    print_table(("SLOT", "MODEL"), list(models.items()))
    print_line(f"written to {path}; recommended on {known.date} by: {known.source}")


def _usd(amount: float | None) -> str | None:
    return None if amount is None else f"{amount:.6f}".rstrip("0").rstrip(".")
