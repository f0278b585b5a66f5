"""docs/benchmarks.md: made of what is kept and nothing else, so that the same results give the same text."""

from __future__ import annotations

import statistics

from tests.peers.ratios import RATIOS, Ratio, figures, verdict
from tests.peers.results import About, Comparison, Results, Side
from tests.peers.sweep import Sweep, described
from tests.peers.work import WORKS

HEAD = """\
# Benchmarks beside the peers

Written by `make bench-peers`, which measures and then replaces this file; nothing in it is typed. Only ratios taken in
one run carry over to another machine.

Every system does the same work in turn, round after round, from an empty store: a command adds one to a key's counter
and is answered when that is durable. Each runs with the best settings that a sweep found for it here, and after
every measurement its own store is counted: a figure of which one command is missing, or there twice, is not taken.
Or it takes runs of ten steps that do nothing, each recorded before the next begins: rates and processor time are of
steps then, and latencies of whole runs.
Callers run on the same machine. Rates are of callers that were answered; ratios are ours over theirs, so that more is
better for throughput, and less for latency.
"""


def written(results: Results) -> str:
    """The whole report, as Markdown."""
    parts = [HEAD, *[f"- {line}" for line in results.conditions], ""]
    parts += ["## Ratios", "", *table(results), "", *_doubts(results)]
    parts += ["## Processor time", "", *_processor(results), "", *_rest(results)]
    parts += ["## The systems", ""]
    for name in sorted(results.about, key=_order):
        parts += _system(results.about[name])
    parts += ["## Rounds", "", "| work | system | a second, by round | p50 in ms, by round | run (UTC) |"]
    parts.append("|---|---|---|---|---|")
    for comparison in _comparisons(results):
        parts += _rounds(results, comparison)
    return "\n".join(parts) + "\n"


def table(results: Results) -> list[str]:
    """One row a ratio."""
    found = figures(results)
    lines = ["| work | peer | ours | theirs | ratio | to reach | |", "|---|---|---|---|---|---|---|"]
    for ratio in RATIOS:
        comparison = results.comparisons.get(ratio.comparison)
        if comparison is None:
            continue
        title = results.about[comparison.peer].title
        ours, theirs = _figure(comparison, comparison.ours), _figure(comparison, comparison.theirs)
        reached = verdict(ratio, found)
        work, times = WORKS[comparison.work].title, _times(comparison)
        lines.append(f"| {work} | {title} | {ours} | {theirs} | {times} | {_wanted(ratio)} | {reached} |")
    return lines


QUIET = 1.25
"""So much may the rounds of one system differ on a machine that does nothing else."""


def _doubts(results: Results) -> list[str]:
    """Comparisons that something else on the machine disturbed."""
    doubtful = []
    for comparison in _comparisons(results):
        for side in (comparison.ours, comparison.theirs):
            figures = [run.per_s if WORKS[comparison.work].higher else run.p50_ms for run in side.runs]
            if max(figures) > QUIET * min(figures):
                doubtful.append(f"{WORKS[comparison.work].title}, {results.about[comparison.peer].title}")
                break
    if not doubtful:
        return []
    said = "the machine was not quiet, or the system is not steady; measure again before you build on it"
    return [f"In doubt, since rounds of one system differ by more than a quarter ({said}): {'; '.join(doubtful)}.", ""]


def _figure(comparison: Comparison, side: Side) -> str:
    return f"{side.per_s:,.0f}/s" if WORKS[comparison.work].higher else f"p50 {side.p50_ms:.2f} ms"


def _times(comparison: Comparison) -> str:
    return f"{comparison.ratio:.1f}" if comparison.ratio >= 2 else f"{comparison.ratio:.2f}"


def _wanted(ratio: Ratio) -> str:
    if not ratio.target:
        return ""
    return f"at {ratio.bound} {ratio.target:.3g}"


def _processor(results: Results) -> list[str]:
    """Microseconds a command, by who used them: where the difference is."""
    lines = ["Microseconds of processor time a command, or a step, medians of the rounds that compared the two:", ""]
    lines += ["| work | system | in all | of it |", "|---|---|---|---|"]
    for comparison in _comparisons(results):
        for name, side in (("ours", comparison.ours), (comparison.peer, comparison.theirs)):
            used = _median_cpu(side)
            parts = ", ".join(f"{who} {value:,.0f}" for who, value in used.items())
            title = results.about[name].title
            if name == "ours":
                title += f" (beside {results.about[comparison.peer].title})"
            lines.append(f"| {WORKS[comparison.work].title} | {title} | {sum(used.values()):,.0f} | {parts} |")
    return lines


REST = (
    ("pod", "actor", "checked headers and arguments, a thread for handlers, rows for answers, positions and epochs"),
    ("postgres", "postgres", "the fence, a look-up of each id, an index of positions, and rows of 16 columns"),
    ("nats", "nats", "a consumer for each lane instead of one for all, and headers"),
    ("callers", "callers", "JSON, headers, time-outs and repeats"),
)
"""Who does more than with the bare prototype: its name with us, its name there, and what for."""

WITHIN = """\
A sampling profiler (py-spy, November 2026) saw a saturated pod spend three tenths of its time receiving: parsing
messages, checking headers; four tenths in turns: arguments, handlers, events encoded, decoded and folded; two tenths in
the commit pipeline: look-ups, rows, answers. In Postgres (perf) half is inserting, most of that in three indexes, and a
sixth reading parameters. In nats-server (perf) a third is storing a message, a quarter handing it to its consumer.
"""


def _rest(results: Results) -> list[str]:
    """What a command costs beside the bare prototype's."""
    comparison = results.comparisons.get("prototype.keyed")
    if comparison is None:
        return []
    ours, theirs = _median_cpu(comparison.ours), _median_cpu(comparison.theirs)
    more = sum(ours.values()) - sum(theirs.values())
    lines = [f"Of a keyed command, saturated, {more:,.0f} µs are what the bare prototype does without:", ""]
    for mine, other, why in REST:
        if mine in ours and other in theirs:
            lines.append(f"- {mine}: {ours[mine] - theirs[other]:+,.0f} µs ({theirs[other]:,.0f} there): {why}.")
    return [*lines, "", *WITHIN.splitlines(), ""]


def _median_cpu(side: Side) -> dict[str, float]:
    names = side.runs[0].cpu_us
    return {name: statistics.median(run.cpu_us[name] for run in side.runs) for name in names}


def _system(about: About) -> list[str]:
    lines = [f"### {about.title}", "", about.how, "", f"- Durability: {about.durability}."]
    if about.versions:
        named = [f"{name} {version}" for name, version in sorted(about.versions.items())]
        lines.append(f"- Versions: {', '.join(named)}.")
    if about.left_out:
        lines.append(f"- Left out: {about.left_out}")
    for work, sweep in sorted(about.sweeps.items(), key=lambda item: list(WORKS).index(item[0])):
        title = WORKS[work].title
        lines.append(f"- {title[0].upper()}{title[1:]}: best with {described(sweep.best)}{_tried(sweep, work)}")
    return [*lines, ""]


def _tried(sweep: Sweep, work: str) -> str:
    if len(sweep.trials) < 2:
        return "."
    named = []
    for trial in sweep.trials:
        if trial.outcome is None:
            found = "failed"
        else:
            found = f"{trial.outcome.per_s:,.0f}/s" if WORKS[work].higher else f"p50 {trial.outcome.p50_ms:.2f} ms"
        named.append(f"{described(trial.setting)}: {found}")
    return f". Tried: {'; '.join(named)}."


def _rounds(results: Results, comparison: Comparison) -> list[str]:
    lines = []
    for name, side in (("ours", comparison.ours), (comparison.peer, comparison.theirs)):
        rates = ", ".join(f"{run.per_s:,.0f}" for run in side.runs)
        waits = ", ".join(f"{run.p50_ms:.2f}" for run in side.runs)
        title, work = results.about[name].title, WORKS[comparison.work].title
        lines.append(f"| {work} | {title} | {rates} | {waits} | {comparison.at} |")
    return lines


def _comparisons(results: Results) -> list[Comparison]:
    """In the order of the ratios."""
    return [results.comparisons[ratio.comparison] for ratio in RATIOS if ratio.comparison in results.comparisons]


def _order(name: str) -> int:
    names = ["ours", *[ratio.comparison.partition(".")[0] for ratio in RATIOS]]
    return names.index(name) if name in names else len(names)
