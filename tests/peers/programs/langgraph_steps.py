"""LangGraph: a graph of ten nodes, its state kept by the Postgres checkpointer; or the checkpointer alone."""

from __future__ import annotations

import itertools
from typing import TypedDict

import uvloop
from langgraph.checkpoint.base import Checkpoint, empty_checkpoint
from langgraph.checkpoint.base.id import uuid6
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.graph import END, START, StateGraph
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from tests.bench.tally import Call
from tests.peers.programs.job import Job, run, told

NODES = 10


class State(TypedDict):
    """What is kept at each step."""

    number: int
    text: str


async def count(state: State) -> State:
    """Counts, and hands the text on."""
    return {"number": state["number"] + 1, "text": state["text"]}


def graph_call(job: Job, saver: AsyncPostgresSaver) -> Call:
    """A call runs the whole graph in a thread of its own."""
    graph = StateGraph(State)
    names = [f"n{number}" for number in range(NODES)]
    for name in names:
        graph.add_node(name, count)
    for before, after in itertools.pairwise([START, *names, END]):
        graph.add_edge(before, after)
    runnable = graph.compile(checkpointer=saver)
    number = itertools.count()

    async def call(key: str) -> bool:
        config = {"configurable": {"thread_id": f"{job.number}-{key}-{next(number)}"}}
        end = await runnable.ainvoke(
            {"number": 0, "text": job.setting["text"]}, config, durability=job.setting["durability"]
        )
        return bool(end["number"] == NODES)

    return call


def saver_call(job: Job, saver: AsyncPostgresSaver) -> Call:
    """A call writes one checkpoint, and no graph runs."""
    number = itertools.count(1)

    async def call(key: str) -> bool:
        version = next(number)
        checkpoint: Checkpoint = empty_checkpoint() | {
            "id": str(uuid6(clock_seq=version)),
            "channel_values": {"number": version, "text": job.setting["text"]},
            "channel_versions": {"number": version, "text": version},
        }
        config = {"configurable": {"thread_id": f"{job.number}-{key}", "checkpoint_ns": ""}}
        metadata = {"source": "loop", "step": version, "parents": {}}
        await saver.aput(config, checkpoint, metadata, checkpoint["channel_versions"])
        return True

    return call


async def main(job: Job) -> None:
    """Checkpoints until the measurement is over."""
    pool = int(job.setting["pool"])
    options = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
    async with AsyncConnectionPool(job.target, min_size=pool, max_size=pool, kwargs=options) as connections:
        saver = AsyncPostgresSaver(connections)
        if job.number == 0:  # it is started first, and the others once it is up
            await saver.setup()
        make = graph_call if job.setting["way"] == "graph" else saver_call
        await run(job, [make(job, saver)] * job.in_flight)


if __name__ == "__main__":
    uvloop.run(main(told()))
