"""eventsourcing: an aggregate saved for each command."""

from __future__ import annotations

from collections.abc import Mapping

from tests.peers import loading, packages
from tests.peers.databases import fresh, one_value
from tests.peers.peer import Axes, Ground
from tests.peers.work import WORKS, Outcome, Setting

PACKAGES = ("eventsourcing", "psycopg[binary]", "psycopg-pool")
_SATURATED: Axes = {
    "functions": ("y", "n"),
    "processes": (1, 2, 4),
    "in_flight": (4, 1, 2, 8, 16),
    "pool": (16,),
}
_ONE: Axes = {"in_flight": (1,), "functions": ("y", "n"), "pool": (2,)}


class Eventsourcing:
    """The library in processes of its own, on the benchmark's Postgres."""

    name = "eventsourcing"
    title = "eventsourcing"
    how = (
        "A command triggers an event of an aggregate that its caller holds in memory, and saves it. Nothing is looked "
        "up, nothing is recorded against repeats, and an aggregate has one caller, since two would conflict."
    )
    durability = "saved when the transaction is committed; fsync and synchronous_commit on"
    works: Mapping[str, Axes] = {"keyed": _SATURATED, "alone": _ONE, "hot": _ONE}

    def prepare(self, ground: Ground) -> dict[str, str]:
        """See Peer."""
        self._python = packages.environment(ground.state, self.name, PACKAGES)
        return packages.versions(self._python, ("eventsourcing", "psycopg"))

    def measure(self, ground: Ground, work: str, setting: Setting, seconds: float) -> Outcome:
        """See Peer."""
        url = fresh(ground.infra.endpoints, "peer_eventsourcing")
        load = loading.Load(self._python, "eventsourcing_counter", url, WORKS[work].keys, setting, seconds)
        outcome, answered = loading.run(load, {"postgres": ground.servers["postgres"]})
        made = "SELECT count(*) FROM application_events WHERE originator_version > 1"
        loading.check(answered, one_value(url, made), "the events' table")
        return outcome
