"""DBOS: each call is a workflow of ten steps, in its caller's process."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import uvloop
from dbos import DBOS, DBOSConfig

from tests.peers.programs.job import Job, SyncCall, run, run_in_threads, told

STEPS = 10


def awaiting(job: Job) -> None:
    """Callers that await, in one event loop."""

    @DBOS.step()
    async def one(number: int) -> int:
        return number

    @DBOS.workflow()
    async def walk(steps: int) -> int:
        for number in range(steps):
            await one(number)
        return steps

    async def call(_: str) -> bool:
        return await walk(STEPS) == STEPS

    async def main() -> None:
        DBOS.launch()
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(int(job.setting["pool"])))
        await run(job, [call] * job.in_flight)
        DBOS.destroy()

    uvloop.run(main())


def blocking(job: Job) -> None:
    """Callers that block a thread each."""

    @DBOS.step()
    def one(number: int) -> int:
        return number

    @DBOS.workflow()
    def walk(steps: int) -> int:
        for number in range(steps):
            one(number)
        return steps

    call: SyncCall = lambda _: walk(STEPS) == STEPS  # noqa: E731 - a name with a type
    DBOS.launch()
    run_in_threads(job, call)
    DBOS.destroy()


def main(job: Job) -> None:
    """Runs the job as its setting says."""
    config: DBOSConfig = {
        "name": "steps",
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
