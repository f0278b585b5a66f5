"""A recording against the kinds of a module: the first difference of every actor and run."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec

from runtime.activity import CountingLoop
from runtime.arguments import InvalidArguments
from runtime.flow.context import RUN
from runtime.flow.state import PUBLISHED, STARTED
from runtime.kind import SYSTEM_EVENT_PREFIX, Execution, Kind
from runtime.recorder import Entry
from runtime.replaying.differences import Difference, Report
from runtime.replaying.folding import folded
from runtime.replaying.journals import RecordedRun, runs_of
from runtime.replaying.recording import RecordedActor
from runtime.replaying.rehearsal import Came, error_text, hex_of, rehearse
from runtime.turn import Turn
from schemas.address import Address

_STARTED = SYSTEM_EVENT_PREFIX + STARTED


def compare(kinds: Mapping[str, Kind], actors: Mapping[Address, RecordedActor]) -> Report:
    """Folds every actor and replays every run of these kinds. Nothing is carried out."""
    report = Report()
    unknown = set()
    with asyncio.Runner(loop_factory=CountingLoop) as runner:
        for actor in actors.values():
            kind = kinds.get(actor.address.kind)
            if kind is None:
                unknown.add(actor.address.kind)
                continue
            report.actors += 1
            report.events += len(actor.events)
            difference = folded(kind, actor)
            if difference is not None:
                report.differences.append(difference)
            elif kind.type == "workflow":
                runner.run(_replay(kind, actor, report))
            elif begun := next((event for event in actor.events if event.type == _STARTED), None):
                tenant, name, key = actor.address
                text = f"a workflow {name!r} has run here, and the code has a kind of another type: {kind.type}"
                report.differences.append(
                    Difference(tenant=tenant, kind=name, key=key, what="missing", seq=begun.seq, text=text)
                )
    report.unknown = sorted(unknown)
    return report


async def _replay(kind: Kind, actor: RecordedActor, report: Report) -> None:
    method = kind.methods[RUN]
    assert isinstance(method, Execution)
    try:
        runs = list(runs_of(actor))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        tenant, name, key = actor.address
        text = f"its journal is none that the engine has written: {error}"
        report.differences.append(Difference(tenant=tenant, kind=name, key=key, what="unreadable", text=text))
        return
    for at, run in enumerate(runs):
        report.runs += run.state.generation == 0
        last = at == len(runs) - 1
        report.open += last and run.ended is None and run.continued is None
        began = run.state.began / 1000
        turn = Turn(
            actor.address, run.state.run, run.fact.seq, began, attempt=1, principal=run.fact.principal,
            session=run.fact.session, correlation_id=run.fact.correlation_id, roles=tuple(run.started.roles),
            headers=run.started.headers, method=RUN,
        )  # fmt: skip
        try:
            came = await rehearse(method, run.state, actor.address, run.args, run.entries, turn)
        except InvalidArguments as error:
            came = Came(error=error)
        difference = _difference(actor.address, run, came)
        if difference is None:
            continue
        if run.parked is not None and came.error is not None:
            report.stopped += 1
        else:
            report.differences.append(difference)


def _difference(address: Address, run: RecordedRun, came: Came) -> Difference | None:
    """The difference between a run and what the code made of it."""
    if came.error is not None:
        return _failed(address, run, came)
    if not run.is_complete or came.patched:
        return None  # what it asked for at the end of its record is not known, and need not be the same
    if came.reached:
        asked = came.asking[0]
        text = f"the run had ended here, and the code asks for {asked.name!r}"
        return _of(address, run, "journal", text, old=_end_of(run), new=asked.shown(), at=asked.at)
    old, new = _end_of(run), _end(came)
    if old != new:
        return _of(address, run, "result", "the run ends otherwise than it did", old=old, new=new, at=came.at)
    published = [entry.step.removeprefix(PUBLISHED) for entry in came.noted if entry.step.startswith(PUBLISHED)]
    if published:
        text = f"the run publishes {published[0]!r}, which it did not"
        return _of(address, run, "journal", text, new=published)
    return None


def _failed(address: Address, run: RecordedRun, came: Came) -> Difference:
    assert came.error is not None
    text, entry = error_text(came.error), came.recorded
    if entry is None:
        return _of(address, run, "error", text, new=text, at=came.at)
    seq = run.places[next(at for at, one in enumerate(run.entries) if one is entry)]
    return _of(
        address, run, "journal", text, seq=seq, event=f"{entry.number} {entry.step}", old=_recorded(entry),
        new=came.asking[-1].shown(), at=came.at,
    )  # fmt: skip


def _of(address: Address, run: RecordedRun, what: Any, text: str, **more: Any) -> Difference:
    tenant, kind, key = address
    return Difference(tenant=tenant, kind=kind, key=key, run=run.state.run, what=what, text=text, **more)


def _end_of(run: RecordedRun) -> Any:
    if run.continued is not None:
        return {"continued": msgspec.json.decode(run.continued.args)}
    assert run.ended is not None
    failure = run.ended.failure
    if failure is not None:
        return {"failure": {"code": failure.code, "message": failure.message}}
    return {"result": msgspec.json.decode(run.ended.result)}


def _end(came: Came) -> Any:
    if came.continued is not None:
        return {"continued": msgspec.json.decode(came.continued)}
    if came.failure is not None:
        return {"failure": {"code": came.failure.code, "message": came.failure.message}}
    return {"result": msgspec.json.decode(came.result or b"null")}


def _recorded(entry: Entry) -> Any:
    return {"number": entry.number, "name": entry.step, "digest": hex_of(entry.digest)}
