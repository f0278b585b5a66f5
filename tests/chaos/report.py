"""What a run prints: waits and take-overs, and when something is wrong, how to see it again and why."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence

from tests.chaos.check_flows import is_flow
from tests.chaos.evidence import Evidence, Verdict
from tests.chaos.faults import Fault
from tests.chaos.log import Log, journal
from tests.chaos.record import Entry, Record
from tests.chaos.settings import ChaosSettings
from tests.chaos.watch import Watch
from tests.support.system import System

SHOWN = 10


def summary(
    evidence: Evidence,
    verdict: Verdict,
    settings: ChaosSettings,
    history: Sequence[Fault],
    watches: Sequence[Watch],
    deployed: Sequence[str],
) -> list[str]:
    """What a run was, whatever its verdict."""
    log, record = evidence.log, evidence.record
    per_minute = verdict.acknowledged / settings.seconds * 60
    kinds = Counter(f"{_what(entry)} by {entry.via}" for entry in record.entries)
    stored, missed = sum(watch.last for watch in watches), sum(watch.missed for watch in watches)
    return [
        f"faults: {fault_counts(history)}",
        f"{log.size} events of {len(log.events)} actors; {per_minute:,.0f} acknowledged commands a minute",
        "asked: " + ", ".join(f"{name} {count}" for name, count in sorted(kinds.items())),
        f"queries: {len(record.looks)}, answered by {len({look.pid for look in record.looks})} processes",
        streams(record),
        f"steps: {len(evidence.outside)} marks",
        *deployed,
        f"{stored} messages in the streams, {missed} of them trimmed before they were looked at",
        *([f"{verdict.excused} acknowledgements by the broker alone were void"] if verdict.excused else []),
        waits(record),
        *takeovers(history, log),
    ]


def _what(entry: Entry) -> str:
    return f"{entry.actor.split('/')[1]}.{entry.method}" if is_flow(entry) else entry.method


def streams(record: Record) -> str:
    """What readers of sessions went through."""
    readings = record.readings
    facts, cuts = sum(len(reading.seen) for reading in readings), sum(reading.cuts for reading in readings)
    resets = sum(seen.sequence == -1 for reading in readings for seen in reading.seen)
    shown = sum(len(seen.shown.values) for reading in readings for seen in reading.seen if seen.shown is not None)
    return f"streams: {len(readings)} readers, {cuts} cuts, {facts} facts, {shown} values shown, {resets} resets"


def waits(record: Record) -> str:
    """How long callers waited."""
    waited = sorted(entry.waited_s for entry in record.entries if entry.outcome in ("done", "rejected", "stored"))
    if not waited:
        return "nothing was answered"
    p50, p99 = (waited[int(len(waited) * share)] for share in (0.50, 0.99))
    return f"wait of callers: p50 {p50 * 1000:.1f} ms, p99 {p99 * 1000:.0f} ms, max {waited[-1]:.2f} s"


def takeovers(history: Sequence[Fault], log: Log) -> list[str]:
    """From each fault of a pod to the first commit of the lane's next owner, over the lanes that had work."""
    commits = log.first_commits()
    took: dict[str, list[float]] = {}
    for fault in history:
        for lane, epoch in fault.lanes:
            later = [at for newer, at in commits.get(lane, []) if newer > epoch]
            if later:
                took.setdefault(fault.kind, []).append(later[0] - fault.at)
    return [
        f"take-over after {kind}: {len(times)} lanes, median {statistics.median(times):.2f} s, max {max(times):.2f} s"
        for kind, times in sorted(took.items())
    ]


def history_lines(history: Sequence[Fault], begun: float) -> list[str]:
    """The faults in order."""
    return [f"  {fault.at - begun:7.2f} s  {fault.kind:8} {fault.victim} {fault.detail}" for fault in history]


def failure(
    verdict: Verdict, settings: ChaosSettings, history: Sequence[Fault], begun: float, system: System
) -> list[str]:
    """All that is needed to see the failure again."""
    lines = [f"FAILED with seed {settings.seed}: {settings}", "faults:", *history_lines(history, begun)]
    for word, findings in verdict.findings.items():
        if not findings:
            continue
        lines.append(f"{word}: {len(findings)}, over {len({key for key, _ in findings})} keys")
        lines += [f"  {key}: {text}" for key, text in findings[:SHOWN]]
        key, text = findings[0]
        lines.append(f"journal of {key} ({text}):")
        around = next((word for word in text.split() if word.startswith(f"{key.split('/')[-1]}-")), "")
        lines += journal(system, key, around)
    return lines


def last_line(verdict: Verdict, history: Sequence[Fault]) -> str:
    """The line that says it all."""
    counts = ", ".join(f"{word} {len(findings)}" for word, findings in verdict.findings.items())
    return f"faults {len(history)}, acknowledged {verdict.acknowledged}, {counts}"


def fault_counts(history: Sequence[Fault]) -> str:
    """How many of each kind."""
    return ", ".join(f"{kind} {count}" for kind, count in sorted(Counter(fault.kind for fault in history).items()))
