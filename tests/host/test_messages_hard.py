"""Messages of running executions at their worst: forged ones, many at once, and everything that dies meanwhile."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import nats
import psycopg
import pytest

from runtime.errors import CallFailed
from schemas import headers as names
from tests.host.test_fence import WAITING
from tests.host.test_messages import MODULE, ask_raw, running, said
from tests.host.test_promotion import promote
from tests.host.test_steps import lines
from tests.support.kinds import Add, counter
from tests.support.system import System, run, until
from tests.support.waiters import slow, waiter

PACKED = {"Content-Type": "application/msgpack"}


@pytest.mark.parametrize("value", [{None: 1}, {"deep": msgspec.msgpack.Ext(5, b"x")}, {True: False}])
def test_given_a_message_without_a_json_form_then_it_is_refused_and_the_pod_lives(
    shared_system: System, tmp_path: Path, value: Any
) -> None:
    id = f"run-{tmp_path.name}"

    async def scenario() -> None:
        async with shared_system.pod(waiter) as pod, shared_system.client() as client:
            raw = await nats.connect(shared_system.nats_url, inbox_prefix=b"_INBOX.default")
            collecting = await client.submit(waiter, id, "collect", {"path": str(tmp_path / "n"), "count": 1}, id=id)
            await until(lambda: system_runs(shared_system, id))
            body = msgspec.msgpack.encode({"run": id, "name": "value", "value": value})
            reply = await ask_raw(raw, f"cmd.default.waiter.{id}.$signal", body, PACKED)
            assert reply["error"]["code"] == "invalid_arguments", reply
            await collecting.signal("value", 1)
            assert await collecting.result() == [1]
            assert not pod.failed.is_set()
            await raw.close()

    run(scenario())


def system_runs(system: System, id: str) -> bool:
    return (id,) in system.sql("SELECT command_id FROM pending WHERE state = 'running'")


def test_given_a_return_address_on_a_command_of_an_impossible_tenant_then_the_pod_lives(system: System) -> None:
    async def scenario() -> None:
        async with system.pod(counter) as pod, system.client() as client:
            raw = await nats.connect(system.nats_url)
            checkpoint = "SELECT count(*) FROM partitions WHERE checkpoint > 0"
            await raw.publish("cmd.No!.counter.a.Add", b"{}", headers={names.ANSWER: "counter.a.run", names.ID: "x"})
            await raw.flush()
            await until(lambda: pod.failed.is_set() or system.sql(checkpoint) != [(0,)])
            assert not pod.failed.is_set()
            assert await client.ask(counter, "a", Add(1)) == 1
            await raw.close()

    run(scenario())


def test_given_a_signal_that_was_parked_when_it_is_replayed_then_it_holds_up_nobody(
    system: System, tmp_path: Path
) -> None:
    path = tmp_path / "notes"

    async def scenario() -> None:
        async with system.pod(waiter) as pod, system.client() as client:
            collecting = await running(system, client, "collect", {"path": str(path), "count": 1})
            raw = await nats.connect(system.nats_url)
            body = b'{"run": "run", "name": "value", "value": 3}'
            await raw.publish("cmd.default.waiter.w.$signal", body, headers={names.REPLY: "elsewhere", names.ID: "s"})
            await until(lambda: system.sql("SELECT count(*) FROM dead_letters") == [(1,)])
            ((letter,),) = system.sql("SELECT id FROM dead_letters")
            await client.query(waiter, "w", "$order", {"what": "replay", "dead_letter": letter})
            assert await collecting.result(timeout_s=120) == [3]
            assert await client.ask(waiter, "w", "put", {"value": 4}, timeout_s=120) == 4
            assert not pod.failed.is_set()
            await raw.close()

    run(scenario())
    assert system.sql("SELECT count(*) FROM pending") == [(0,)]


def test_given_a_waiting_command_when_it_is_cancelled_as_its_turn_comes_then_it_does_not_run_too(
    system: System, tmp_path: Path
) -> None:
    path = tmp_path / "notes"

    async def scenario() -> None:
        async with system.pod(waiter) as pod, system.client() as client:
            raw = await nats.connect(system.nats_url)
            await running(system, client, "stubborn", {"path": str(path)})
            queued = await client.submit(waiter, "w", "put", {"value": 1}, id="queued")
            last = await client.submit(waiter, "w", "put", {"value": 2}, id="last")
            await until(lambda: system.sql("SELECT count(*) FROM pending") == [(3,)])
            lane = next(iter(lane for lane in pod.lanes.values() if lane.held))
            with psycopg.connect(system.postgres_url, options="-c search_path=troupe") as locking:
                # The batch with the end of the first waits for its fence, and the cancel comes meanwhile.
                locking.execute("SELECT FROM partitions WHERE lane = %s FOR UPDATE", (lane.lane,))
                Path(f"{path}.never").touch()
                await until(lambda: system.sql(WAITING) == [(1,)])
                await raw.publish("cmd.default.waiter.w.$cancel", b'{"run": "queued"}')
                await until(lambda: len(pod.committer) >= 1)
                locking.rollback()
            assert await last.result() == 2
            with pytest.raises(CallFailed, match="was cancelled before it ran"):
                await queued.result()
            assert pod.meter.log_losses == 0
            await raw.close()

    run(scenario())


def test_given_a_waiting_update_when_another_version_is_promoted_then_the_handler_hears_of_it_once(
    system: System, tmp_path: Path
) -> None:
    path = tmp_path / "notes"
    system.start_pod(MODULE, group="v1", code_version="v1", drain_s=0.1)

    async def scenario() -> None:
        async with system.client() as client:
            serving = await running(system, client, "desk", {"path": str(path), "count": 2})
            four = asyncio.ensure_future(serving.update("number", 4, id="four", timeout_s=120))
            await until(lambda: lines(path) == ["seen 4"])
            system.start_pod(MODULE, group="v2", code_version="v2")
            await promote(client, "v2")
            await until(lambda: lines(path) == ["seen 4"] * 2)
            await asyncio.sleep(1.0)
            assert said(system, "update") == 1
            for number in (4, 6):
                Path(f"{path}.{number}").touch()
            assert await four == {"half": 2}
            assert await serving.update("number", 6) == {"half": 3}
            assert await serving.result() == [4, 6]

    run(scenario())


def test_given_steps_side_by_side_when_a_new_attempt_is_cancelled_then_it_undoes_what_they_did(
    system: System, tmp_path: Path
) -> None:
    path = tmp_path / "notes"
    pods = [system.start_pod(MODULE)]

    async def scenario() -> None:
        async with system.client() as client:
            travelling = await running(system, client, "party", {"path": str(path)})
            await until(lambda: said(system, "step") == 2)
            pods[-1].kill()
            cancelling = asyncio.ensure_future(travelling.cancel("rain", timeout_s=120))
            pods.append(await asyncio.to_thread(system.start_pod, MODULE))
            await cancelling
            await until(lambda: said(system, "step") == 5)
            pods[-1].kill()  # both are undone, side by side, and it waits to end
            pods.append(await asyncio.to_thread(system.start_pod, MODULE))
            Path(f"{path}.go").touch()
            assert await travelling.result(timeout_s=120) == ["hall", "band"]

    run(scenario())
    assert sorted(lines(path)) == ["book band", "book hall", "unbook band", "unbook hall"]
    assert system.sql("SELECT count(*) FROM dead_letters") == [(0,)]


def test_given_an_execution_that_only_asked_when_a_new_attempt_is_cancelled_then_it_undoes_what_it_asked_for(
    system: System, tmp_path: Path
) -> None:
    path = tmp_path / "notes"
    Path(f"{path}.answer").touch()
    pods = [system.start_pod(MODULE)]

    async def scenario() -> None:
        async with system.client() as client:
            reserving = await running(system, client, "reservation", {"path": str(path)})
            await until(lambda: said(system, "answer") == 1)
            pods[-1].kill()
            cancelling = asyncio.ensure_future(reserving.cancel(timeout_s=120))
            pods.append(await asyncio.to_thread(system.start_pod, MODULE))
            await cancelling
            assert await reserving.result(timeout_s=120) == "thought, and xxx"

    run(scenario())
    assert lines(path) == ["think", "think"]


def test_given_a_waiting_execution_when_the_log_is_lost_again_and_again_then_it_is_not_blamed(
    system: System, tmp_path: Path
) -> None:
    path = tmp_path / "notes"
    cut = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()"""

    async def scenario() -> None:
        async with system.pod(waiter, counter) as pod, system.client() as client:
            collecting = await running(system, client, "collect", {"path": str(path), "count": 1})
            for number in range(6):
                await asyncio.sleep(0.5)
                system.sql(cut)
                asking = asyncio.ensure_future(client.ask(counter, "a", Add(1), timeout_s=120))
                await until(lambda: pod.meter.log_losses > number)  # noqa: B023  # it ends before the next one
                await asking
                await until(lambda: any(lane.active for lane in pod.lanes.values()) or not system_runs(system, "run"))
            await collecting.signal("value", 5)
            assert await collecting.result() == [5]

    run(scenario())


def test_given_an_answer_that_nests_as_deep_as_a_result_may_then_the_asker_gets_it(
    system: System, tmp_path: Path
) -> None:
    path = tmp_path / "notes"
    for name in ("answer", "end"):
        Path(f"{path}.{name}").touch()

    async def scenario() -> None:
        async with system.pod(waiter, slow), system.client() as client:
            arguments = {"path": str(path), "to": "deep", "size": 300, "timeout_s": 60.0}
            assert await client.ask(waiter, "w", "question", arguments, timeout_s=90) == 1

    run(scenario())


def test_given_an_execution_that_is_handed_over_then_it_does_not_ask_as_if_it_were_cancelled(
    system: System, tmp_path: Path
) -> None:
    path = tmp_path / "notes"
    Path(f"{path}.answer").touch()
    pod = system.start_pod(MODULE, drain_s=0.1)

    async def scenario() -> None:
        async with system.client() as client:
            reserved = await client.submit(waiter, "w", "reservation", {"path": str(path)}, id="run")
            await until(lambda: said(system, "answer") == 1)
            await asyncio.to_thread(pod.terminate)
            system.start_pod(MODULE)
            Path(f"{path}.never").touch()
            assert await reserved.result(timeout_s=60) == "thought"
            await client.ask(slow, "s", "think", {"path": str(path)}, timeout_s=60)  # behind all that was asked

    run(scenario())
    assert lines(path) == ["think"] * 2
