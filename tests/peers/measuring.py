"""Sweeps and rounds: every system in turn does the same work, again and again, in one run."""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple

from tests.peers.peer import Ground, LeftOut, Peer
from tests.peers.results import About, Comparison, Results, Side
from tests.peers.sweep import described, sweep
from tests.peers.work import WORKS, Outcome

Say = Callable[[str], None]


class Plan(NamedTuple):
    """How long each measurement is, in seconds, and how many rounds there are.

    `fresh` names the systems that are swept although they were before; `short` tries nothing but the first value of
    each setting.
    """

    seconds: float
    sweep_seconds: float
    rounds: int
    fresh: Sequence[str]
    short: bool = False


def prepare(ground: Ground, peers: Sequence[Peer], results: Results, say: Say) -> list[Peer]:
    """Installs the peers; gives those that can be measured, and notes why others cannot."""
    ready = []
    for peer in peers:
        about = results.about.get(peer.name) or About("", "", "")
        about.title, about.how, about.durability, about.left_out = peer.title, peer.how, peer.durability, ""
        results.about[peer.name] = about
        try:
            versions = peer.prepare(ground)
        except LeftOut as reason:
            about.left_out = str(reason)
            say(f"{peer.title} is left out: {reason}")
            continue
        if about.versions != versions:
            about.sweeps.clear()  # the best settings of another version mean nothing
        about.versions = versions
        ready.append(peer)
    return ready


def find_settings(
    ground: Ground, peers: Sequence[Peer], works: Sequence[str], results: Results, plan: Plan, say: Say
) -> None:
    """The best settings of each peer for each work."""
    for peer in peers:
        about = results.about[peer.name]
        for name in works:
            if name not in peer.works or (name in about.sweeps and peer.name not in plan.fresh):
                continue
            say(f"{peer.title}, {WORKS[name].title}:")
            try:
                about.sweeps[name] = sweep(
                    WORKS[name],
                    {axis: values[:1] if plan.short else values for axis, values in peer.works[name].items()},
                    lambda setting, peer=peer, name=name: peer.measure(ground, name, setting, plan.sweep_seconds),  # type: ignore[misc]  # bound now
                    say,
                )
            except LeftOut as reason:
                about.left_out = f"{WORKS[name].title}: {reason}"
                say(f"{peer.title} is left out: {about.left_out}")


def compare(
    ground: Ground, peers: Sequence[Peer], works: Sequence[str], results: Results, plan: Plan, say: Say
) -> None:
    """Rounds of every work, all systems in turn; comparisons with the first of `peers`, the engine, are kept."""
    at = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M")
    for work in works:
        able = [peer for peer in peers if work in results.about[peer.name].sweeps]
        if len(able) < 2 or able[0] is not peers[0]:
            continue
        runs: dict[str, list[Outcome]] = defaultdict(list)
        for number in range(plan.rounds):
            for peer in able:
                found = peer.measure(ground, work, results.about[peer.name].sweeps[work].best, plan.seconds)
                runs[peer.name].append(found)
                what = f"{WORKS[work].title}, round {number + 1}, {peer.title}"
                say(f"{what}: {found.per_s:,.0f}/s, p50 {found.p50_ms:.2f} ms")
        sides = {peer.name: Side(results.about[peer.name].sweeps[work].best, runs[peer.name]) for peer in able}
        ours = able[0].name
        for peer in able[1:]:
            results.comparisons[f"{peer.name}.{work}"] = Comparison(
                peer.name, work, sides[ours], sides[peer.name], plan.seconds, at
            )
    for peer in peers:
        for work, swept in results.about[peer.name].sweeps.items():
            say(f"{peer.title}, {WORKS[work].title}: best with {described(swept.best)}")
