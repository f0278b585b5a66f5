"""`runtime replay`: what new code makes of what was recorded, before it is deployed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from runtime.cli.exits import ExitCode
from runtime.cli.options import AsJson, DataDir, OnlyKind, Tenant, TimeoutS, examples
from runtime.cli.output import as_text, clipped, print_json, print_line
from runtime.errors import Misconfigured

if TYPE_CHECKING:
    from runtime.kind import Kind
    from runtime.replaying.differences import Difference, Report
    from runtime.replaying.recording import RecordedActor
    from schemas.address import Address

SHOWN = 20


def register(app: typer.Typer) -> None:
    """Adds the command."""
    lines = (
        "runtime replay --against shop.orders",
        "runtime log export --states -o recorded.jsonl",
        "runtime replay recorded.jsonl --against shop.orders",
        "runtime replay recorded.jsonl --against shop.orders --old ../deployed --json",
    )
    app.command(epilog=examples(*lines))(replay)


def replay(
    recording: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="What `runtime log export` wrote; else the log of the running system."),
    ] = None,
    against: Annotated[
        list[str] | None, typer.Option("--against", metavar="MODULE", help="The new code; may be repeated.")
    ] = None,
    old: Annotated[
        Path | None,
        typer.Option("--old", metavar="DIR", help="A directory with the code that runs now, to compare states with."),
    ] = None,
    kind: OnlyKind = None,
    states: Annotated[
        Path | None, typer.Option("--states", metavar="FILE", help="Write what the code makes of each actor, and end.")
    ] = None,
    tenant: Tenant = None,
    data: DataDir = None,
    timeout_s: TimeoutS = 30.0,
    as_json: AsJson = False,
) -> None:
    """Fold recorded actors and replay recorded runs through other code, and tell each difference.

    Nothing is carried out: no step, no message, no wait. Ends with 1 when there is a difference: an event that the code
    cannot fold, another state (than running pods have, or the code of --old), a run that asks for something else than
    is recorded, or ends otherwise.
    """
    from runtime.kind import with_companions
    from runtime.modules import load_kinds
    from runtime.replaying.comparing import compare
    from runtime.replaying.recording import actors_of

    if not against:
        raise Misconfigured("say against which code: --against MODULE")
    began = time.monotonic()
    with _recorded(recording, kind, tenant, data, timeout_s, as_json=as_json) as (lines, name):
        wanted = (tenant, kind)
        actors = {
            address: actor
            for address, actor in actors_of(lines, name).items()
            if all(one in (None, own) for one, own in zip(wanted, address[:2], strict=True))
        }
        if old is not None:
            _add_states(actors, name, old, against)
    kinds = {found.name: found for found in with_companions(load_kinds(against))}
    if states is not None:
        _write_states(kinds, actors, states)
        return
    report = compare(kinds, actors)
    modules = ", ".join(against)
    if not report.actors and report.unknown:
        raise Misconfigured(f"{modules} defines none of the kinds that are recorded: {', '.join(report.unknown)}")
    if kind is not None and kind not in kinds:
        raise Misconfigured(f"{modules} does not define the kind {kind!r}")
    report.seconds = round(time.monotonic() - began, 3)
    if as_json:
        print_json(report)
    else:
        _print(report)
    if report.differences:
        raise typer.Exit(ExitCode.FAILED)


@contextmanager
def _recorded(
    recording: Path | None, kind: str | None, tenant: str | None, data: Path | None, timeout_s: float, *, as_json: bool
) -> Iterator[tuple[Iterable[bytes], str]]:
    """(the lines of the recording, its name); of a running system it is exported first."""
    from runtime.cli import log

    with tempfile.TemporaryDirectory() as directory:
        path = recording
        if path is None:
            path = Path(directory, "log.jsonl")
            log.write(path, kind, None, (None, None), tenant, data, timeout_s, states=True)
        try:
            with path.open("rb") as file:
                yield file, str(path)
        except OSError as error:
            raise Misconfigured(f"{path} cannot be read: {error.strerror}") from error


def _add_states(actors: dict[Address, RecordedActor], recording: str, old: Path, against: list[str]) -> None:
    """Has the code in another directory fold the same recording, in a process of its own."""
    from runtime.replaying.recording import actors_of

    if not old.is_dir():
        raise Misconfigured(f"--old {old} is no directory: check the code out that runs now (git worktree add)")
    with tempfile.TemporaryDirectory() as directory:
        states = Path(directory, "states.jsonl")
        command = [sys.executable, "-P", "-m", "runtime", "replay", str(Path(recording).absolute())]
        for module in against:
            command += ["--against", module]
        command += ["--states", str(states)]
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(command, cwd=old, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            told = done.stderr.strip() or done.stdout.strip()
            raise Misconfigured(f"the code in {old} cannot fold the recording: {told.removeprefix('error: ')}")
        with states.open("rb") as file:
            for address, found in actors_of(file, str(states)).items():
                if address in actors:
                    actors[address].state = found.state


def _write_states(kinds: dict[str, Kind], actors: dict[Address, RecordedActor], path: Path) -> None:
    from runtime.replaying.folding import states

    with path.open("wb") as file:
        for actor in actors.values():
            kind = kinds.get(actor.address.kind)
            state = None if kind is None else states(kind, actor)
            if state is not None:
                file.write(msgspec.json.encode(state) + b"\n")


def _print(report: Report) -> None:
    for difference in report.differences[:SHOWN]:
        _print_difference(difference)
    left = len(report.differences) - SHOWN
    if left > 0:
        print_line(f"and {left} more: --json tells all")
    beside = [f"{report.open} of them not at their end"] if report.open else []
    beside += [f"{report.stopped} parked, as before"] if report.stopped else []
    beside += [f"not in this code: {', '.join(report.unknown)}"] if report.unknown else []
    looked_at = f"{report.actors} actors, {report.events} events and {report.runs} runs"
    notes = f" ({'; '.join(beside)})" if beside else ""
    print_line(f"{len(report.differences)} differences in {looked_at}{notes}, {report.seconds:.1f} s")


def _print_difference(difference: Difference) -> None:
    run = f", run {difference.run}" if difference.run else ""
    print_line(f"{difference.tenant}/{difference.kind}/{difference.key}{run}: {difference.text}")
    for name, value in (("recorded", difference.old), ("now", difference.new)):
        if value is not None:
            print_line(f"    {name}: {clipped(_text(value), 300)}")
    if difference.at:
        print_line(f"    at: {difference.at}")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else as_text(value)
