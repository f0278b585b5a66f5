"""DBOS: each command is a workflow whose one step is a transaction on the counter's row."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import sqlalchemy as sa
import uvloop
from dbos import DBOS, AsyncSQLAlchemyDatasource, DBOSConfig, SQLAlchemyDatasource

from tests.peers.programs.job import Job, SyncCall, run, run_in_threads, told

ADD = sa.text(
    "INSERT INTO counters (key, value) VALUES (:key, :amount) "
    "ON CONFLICT (key) DO UPDATE SET value = counters.value + excluded.value RETURNING value"
)


def awaiting(job: Job) -> None:
    """Callers that await, in one event loop."""

    async def main() -> None:
        source = await AsyncSQLAlchemyDatasource.create(job.target, engine_kwargs=_engine(job))

        @source.transaction
        async def count(key: str, amount: int) -> int:
            row = await source.sql_session().execute(ADD, {"key": key, "amount": amount})
            return int(row.scalar_one())

        @DBOS.workflow()
        async def add(key: str, amount: int) -> int:
            return await count(key, amount)

        async def call(key: str) -> bool:
            return await add(key, 1) > 0

        DBOS.launch()
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(int(job.setting["pool"])))
        await run(job, [call] * job.in_flight)
        DBOS.destroy()

    uvloop.run(main())


def blocking(job: Job) -> None:
    """Callers that block a thread each."""
    source = SQLAlchemyDatasource.create(job.target, engine_kwargs=_engine(job))

    @source.transaction
    def count(key: str, amount: int) -> int:
        return int(source.sql_session().execute(ADD, {"key": key, "amount": amount}).scalar_one())

    @DBOS.workflow()
    def add(key: str, amount: int) -> int:
        return count(key, amount)

    call: SyncCall = lambda key: add(key, 1) > 0  # noqa: E731 - a name with a type
    DBOS.launch()
    run_in_threads(job, call)
    DBOS.destroy()


def _engine(job: Job) -> dict[str, int]:
    return {"pool_size": int(job.setting["pool"]), "max_overflow": 0}


def main(job: Job) -> None:
    """Runs the job as its setting says."""
    config: DBOSConfig = {
        "name": "counter",
        "system_database_url": job.target,
        "sys_db_pool_size": int(job.setting["pool"]),
        "log_level": "ERROR",
        "executor_id": f"load-{job.number}",
        "application_version": "1",
    }
    DBOS(config=config)
    (awaiting if job.setting["style"] == "async" else blocking)(job)


if __name__ == "__main__":
    main(told())
