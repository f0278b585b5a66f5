"""An execution is accepted by a commit before it runs, with all that its end needs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import nats
import psycopg

from runtime.function import function
from runtime.turn import Turn
from schemas import headers as names
from schemas.signature import sign
from tests.host.test_fence import SEARCH_PATH, WAITING
from tests.support.kinds import Add, counter
from tests.support.steppers import wait_for
from tests.support.system import System, run, until

SECRET = "a key of thirty-two bytes or more, for tests"
FAR_MS = 4_000_000_000_000
"""A deadline, in Unix milliseconds, that no test reaches."""


@function(name="noting")
async def noting(path: str) -> str:
    """Makes the file."""
    Path(path).touch()
    return "made"


@function(name="asked_by")
async def asked_by(ctx: Turn, path: str) -> list[Any]:
    """Waits for the file, then says who asked, and at which attempt that is."""
    await wait_for(path)
    return [ctx.principal, ctx.roles, ctx.attempt]


def test_given_a_log_that_does_not_commit_when_an_execution_is_asked_for_then_it_does_not_run_before(
    system: System, tmp_path: Path
) -> None:
    path = tmp_path / "made"

    async def scenario() -> None:
        async with system.pod(noting, counter, lease_ttl_s=20.0), system.client() as client:
            assert await client.ask(counter, "a", Add(1)) == 1
            with psycopg.connect(system.postgres_url, options=SEARCH_PATH) as other:
                other.execute("LOCK TABLE pending IN SHARE MODE")
                asked = asyncio.ensure_future(client.ask(noting, "n", "run", {"path": str(path)}, timeout_s=60))
                await until(lambda: system.sql(WAITING) == [(1,)])
                await asyncio.sleep(0.3)
                assert not path.exists()
            assert await asked == "made"

    run(scenario())


def test_given_an_execution_when_its_next_owner_starts_it_again_then_it_knows_who_asked_and_answers_there(
    system: System, tmp_path: Path
) -> None:
    """Published once: nobody asks again with the same id."""
    path = tmp_path / "go"
    answers: list[bytes] = []

    async def hear(message: Any) -> None:
        answers.append(message.data)

    async def scenario() -> None:
        connection = await nats.connect(system.nats_url, inbox_prefix=b"_INBOX.default")
        try:
            await asked_once(connection)
        finally:
            await connection.close()

    async def asked_once(connection: Any) -> None:
        inbox = connection.new_inbox()
        await connection.subscribe(inbox, cb=hear)
        subject, body = "cmd.default.asked_by.a.run", msgspec.json.encode({"path": str(path)})
        told = {
            names.ID: "one",
            names.REPLY: inbox,
            names.DEADLINE: str(FAR_MS),
            names.PRINCIPAL: "ann",
            names.ROLES: "admin",
            names.SIGNATURE: sign(
                SECRET.encode(), subject=subject, id="one", body=body, principal="ann", roles="admin",
                expires_at=FAR_MS / 1000,
            ),
        }
        async with system.pod(asked_by, signing_key=SECRET) as pod:
            await connection.publish(subject, body, headers=told)
            await until(lambda: system.sql("SELECT state FROM pending") == [("running",)])
            ((kept,),) = system.sql("SELECT headers FROM pending")
            assert msgspec.json.decode(kept) == told
            for lane in list(pod.lanes.values()):
                pod.lose(lane)
            system.sql("UPDATE partitions SET epoch = epoch + 1, owner = NULL")  # as if another had had them meanwhile
            pod.leases.look_now()
            await until(lambda: system.sql("SELECT attempts FROM pending") == [(2,)])
            path.touch()
            await until(lambda: answers)
            assert msgspec.json.decode(answers[0])["result"] == ["ann", ["admin"], 2]

    run(scenario())
