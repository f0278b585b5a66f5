"""LangGraph's Postgres checkpointer: a state kept at each step of a graph."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from tests.bench.stage import Miscounted
from tests.peers import loading, packages
from tests.peers.databases import fresh, one_value
from tests.peers.peer import Axes, Ground
from tests.peers.work import TEXT, WORKS, Outcome, Setting, by_step

PACKAGES = ("langgraph", "langgraph-checkpoint-postgres", "psycopg[binary]", "psycopg-pool")
_SATURATED: Axes = {
    "way": ("graph", "saver"),
    "in_flight": (16, 32, 64),
    "durability": ("async", "sync"),
    "processes": (1, 2),
    "pool": (16, 32),
}


class Langgraph:
    """The library in processes of its own, on the benchmark's Postgres."""

    name = "langgraph"
    title = "LangGraph, Postgres checkpointer"
    how = (
        "`graph` runs a graph of ten nodes, each leaving a checkpoint; `saver` writes checkpoints by the checkpointer "
        "alone, without a graph. Checkpoints are counted. A run of steps is a run of that graph, with an empty text."
    )
    durability = "a graph is answered once its last checkpoint is committed; fsync and synchronous_commit on"
    works: Mapping[str, Axes] = {
        "checkpoints": _SATURATED,
        "steps": {
            "way": ("graph",),
            "in_flight": (16, 8, 32),
            "durability": ("async", "sync"),
            "processes": (2, 1),
            "pool": (16, 32),
        },
        "run": {"way": ("graph",), "in_flight": (1,), "durability": ("async", "sync"), "pool": (4,)},
    }

    def prepare(self, ground: Ground) -> dict[str, str]:
        """See Peer."""
        self._python = packages.environment(ground.state, self.name, PACKAGES)
        return packages.versions(self._python, ("langgraph", "langgraph-checkpoint-postgres", "psycopg"))

    def measure(self, ground: Ground, work: str, setting: Setting, seconds: float) -> Outcome:
        """See Peer. A rate of checkpoints; the latencies are of what its caller waits for, perhaps a whole graph."""
        url = fresh(ground.infra.endpoints, "peer_langgraph")
        steps = WORKS[work].steps
        given = setting | {"text": TEXT if steps == 1 else ""}
        load = loading.Load(self._python, "langgraph_steps", url, WORKS[work].keys, given, seconds)
        outcome, answered = loading.run(load, {"postgres": ground.servers["postgres"]})
        kept = one_value(url, "SELECT count(*) FROM checkpoints")
        each, rest = divmod(kept, answered)
        if rest or not each:
            raise Miscounted(f"{answered} calls left {kept} checkpoints: as many of each were expected")
        if steps > 1:
            if each < steps:
                raise Miscounted(f"a run of {steps} steps left {each} checkpoints")
            return by_step(WORKS[work], outcome)
        return replace(outcome, per_s=outcome.per_s * each, counted=kept)
