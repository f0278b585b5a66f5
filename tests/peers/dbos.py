"""DBOS: a workflow a command, whose step is a transaction on the counter's row."""

from __future__ import annotations

from collections.abc import Mapping

from tests.peers import loading, packages
from tests.peers.databases import execute, fresh, one_value
from tests.peers.peer import Axes, Ground
from tests.peers.work import WORKS, Outcome, Setting, by_step

PACKAGES = ("dbos", "psycopg[binary]", "sqlalchemy")
DATASOURCE = "import sys; from dbos import SQLAlchemyDatasource as S; S.migrate(sys.argv[1])"
_SATURATED: Axes = {
    "style": ("async", "sync"),
    "processes": (1, 2),
    "in_flight": (32, 8, 16, 64),
    "pool": (16, 32),
}


class Dbos:
    """The library in processes of its own, on the benchmark's Postgres."""

    name = "dbos"
    title = "DBOS"
    how = (
        "A command is a workflow called in its caller's process; its one step is a transaction of a datasource that "
        "adds to the key's row and records the step's result. No queue is between, which would only be slower. A run "
        "is a workflow of ten steps that do nothing."
    )
    durability = "answered after the workflow's result is committed; fsync and synchronous_commit on"
    works: Mapping[str, Axes] = {
        "keyed": _SATURATED,
        "alone": {"style": ("async", "sync"), "in_flight": (1,), "pool": (4,)},
        "hot": _SATURATED,
        "steps": {"style": ("sync", "async"), "processes": (1, 2), "in_flight": (16, 8, 32, 64), "pool": (16, 32)},
        "run": {"style": ("async", "sync"), "in_flight": (1,), "pool": (4,)},
    }

    def prepare(self, ground: Ground) -> dict[str, str]:
        """See Peer."""
        self._python = packages.environment(ground.state, self.name, PACKAGES)
        return packages.versions(self._python, ("dbos", "sqlalchemy", "psycopg"))

    def measure(self, ground: Ground, work: str, setting: Setting, seconds: float) -> Outcome:
        """See Peer."""
        url = fresh(ground.infra.endpoints, "peer_dbos")
        steps = WORKS[work].steps
        if steps > 1:
            load = loading.Load(self._python, "dbos_steps", url, WORKS[work].keys, setting, seconds)
            outcome, answered = loading.run(load, {"postgres": ground.servers["postgres"]})
            loading.check(answered * steps, one_value(url, "SELECT count(*) FROM dbos.operation_outputs"), "DBOS")
            return by_step(WORKS[work], outcome)
        execute(url, "CREATE TABLE counters (key text PRIMARY KEY, value bigint NOT NULL) WITH (fillfactor = 50)")
        packages.run([str(self._python), "-c", DATASOURCE, url])
        load = loading.Load(self._python, "dbos_counter", url, WORKS[work].keys, setting, seconds)
        outcome, answered = loading.run(load, {"postgres": ground.servers["postgres"]})
        loading.check(answered, one_value(url, "SELECT sum(value) FROM counters"), "the counters' table")
        done = "SELECT count(*) FROM dbos.workflow_status WHERE status = 'SUCCESS'"
        loading.check(answered, one_value(url, done), "DBOS")
        return outcome
