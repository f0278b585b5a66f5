"""A run drawn as text: what it is, what it waits for, and its timeline with a bar for the time that each step took."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

from runtime.cli.output import as_text, clipped
from schemas.timeline import Moment, RunDescription

BAR = 24
"""Characters of the longest bar."""

_SIGNS = {
    "step": "●",
    "signal": "←",
    "update": "←",
    "answer": "←",
    "cancel": "✕",
    "terminate": "✕",
    "attempt": "↻",
    "parked": "■",
    "replayed": "↻",
    "dropped": "■",
    "forked": "⑂",
}


def drawn(run: RunDescription, now: datetime.datetime) -> Iterator[str]:
    """The lines of a run."""
    yield f"{run.kind}/{run.key}.{run.method}   {run.status}"
    yield f"  run         {run.run_id}"
    yield f"  command     {run.id}"
    since, ended = _at(run.since), _at(run.ended_at) if run.ended_at else now
    yield f"  since       {run.since} ({_span((ended - since).total_seconds())}{'' if run.ended_at else ' ago'})"
    if run.ended_at:
        yield f"  ended       {run.ended_at}"
    if run.due_at:
        yield f"  goes on     {run.due_at}"
    if run.expires_at:
        yield f"  times out   {run.expires_at}"
    yield f"  attempts    {run.attempts}"
    if run.tags:
        yield f"  tags        {', '.join(run.tags)}"
    if run.has_arguments:
        yield f"  arguments   {clipped(as_text(run.arguments), 200)}"
    if run.error:
        yield f"  error       {f'{run.code}: ' if run.code else ''}{run.error}"
    if run.dead_letter:
        yield f"  dead letter {run.dead_letter}: let it go on with `runtime runs retry`"
    if run.paused is not None:
        yield f"  waits       its actor is paused: {run.paused or 'no reason given'}"
    if run.held_by is not None:
        held = run.held_by
        yield (
            f"  waits       behind {run.ahead}: {held.method} (command {held.id}) holds the key since {held.since}, "
            f"{held.status}{f': {held.error}' if held.error else ''}"
        )
    yield ""
    yield from _timeline(run, since, ended)


def _timeline(run: RunDescription, since: datetime.datetime, ended: datetime.datetime) -> Iterator[str]:
    whole = max((ended - since).total_seconds(), 0.001)
    yield f"  {_offset(0.0)}  ○ accepted"
    for moment in run.timeline:
        at = (_at(moment.at) - since).total_seconds()
        yield f"  {_offset(at)}  {_SIGNS.get(moment.what, '·')} {_told(moment)}"
        if moment.took_ms:
            begun = max(at - moment.took_ms / 1000, 0.0)
            left = min(int(begun / whole * BAR), BAR - 1)
            length = max(round(moment.took_ms / 1000 / whole * BAR), 1)
            yield f"              {' ' * left}{'━' * min(length, BAR - left)} {_span(moment.took_ms / 1000)}"
    if run.more:
        yield "              … more: see `runtime actors tail`"
    yield f"  {_offset(whole)}  {'◉ ' + run.status if run.ended_at else '… ' + run.status}"


def _told(moment: Moment) -> str:
    if moment.what == "step":
        words = [f"{moment.number:>3}", moment.name]
    elif moment.what == "attempt":
        words = [f"attempt {moment.attempt} failed"]
    else:
        words = [moment.what, moment.name]
    if moment.by:
        words.append(f"by {moment.by}")
    if moment.error:
        words.append(f"! {moment.error}")
    elif moment.value is not None:
        words.append(f"= {as_text(moment.value)}")
    return clipped("  ".join(word for word in words if word), 160)


def _at(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text)


def _offset(seconds: float) -> str:
    return f"+{_span(max(seconds, 0.0))}".rjust(10)


def _span(seconds: float) -> str:
    """`340ms`, `12.5s`, `3m20s`, `5h02m`, `3d04h`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 60:
        return f"{seconds:.1f}s"
    whole = int(seconds)
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86_400:
        return f"{whole // 3600}h{whole // 60 % 60:02}m"
    return f"{whole // 86_400}d{whole // 3600 % 24:02}h"
