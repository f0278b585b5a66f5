"""eventsourcing: each command triggers an event of an aggregate that is in memory, and saves it."""

from __future__ import annotations

import os
from urllib.parse import unquote, urlsplit

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event

from tests.peers.programs.job import Job, run_in_threads, told


class Counter(Aggregate):
    """A counter."""

    def __init__(self) -> None:
        self.value = 0

    @event("Added")
    def add(self, amount: int) -> None:
        """Adds."""
        self.value += amount


def main(job: Job) -> None:
    """Saves until the measurement is over. Each caller has aggregates of its own: two savers of one would conflict."""
    where = urlsplit(job.target)
    os.environ |= {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": where.path.removeprefix("/"),
        "POSTGRES_HOST": str(where.hostname),
        "POSTGRES_PORT": str(where.port),
        "POSTGRES_USER": unquote(where.username or ""),
        "POSTGRES_PASSWORD": unquote(where.password or ""),
        "POSTGRES_POOL_SIZE": str(max(2, int(job.setting["pool"]))),
        "POSTGRES_ENABLE_DB_FUNCTIONS": str(job.setting["functions"]),
    }
    application: Application = Application()
    counters = {key: Counter() for key in job.keys}
    for counter in counters.values():
        application.save(counter)

    def save(key: str) -> bool:
        counter = counters[key]
        counter.add(1)
        return bool(application.save(counter))

    run_in_threads(job, save)
    application.close()


if __name__ == "__main__":
    main(told())
