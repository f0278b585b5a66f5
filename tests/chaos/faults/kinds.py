"""Every kind of fault, by name."""

from __future__ import annotations

from collections.abc import Iterable

from tests.chaos.faults import clocks, cluster, disks, gateways, history, links, pods, servers
from tests.chaos.faults.fault import FaultKind
from tests.chaos.stage import Needs

KINDS: dict[str, FaultKind] = {
    kind.name: kind
    for module in (pods, gateways, servers, links, disks, clocks, history, cluster)
    for kind in module.KINDS
}


def needs_of(names: Iterable[str]) -> Needs:
    """What these faults need of a stage, as far as this machine can have them."""
    needs = Needs()
    for kind in (KINDS[name] for name in names):
        if kind.missing() is None:
            needs |= kind.needs
    return needs


def described() -> list[str]:
    """A line for each: its name, what it does, and why this machine cannot have it if it cannot."""
    return [
        f"{kind.name:16}{kind.says}" + (f" (left out here: {why})" if (why := kind.missing()) else "")
        for kind in KINDS.values()
    ]
