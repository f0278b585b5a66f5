"""What is said to a running execution does not wait for its key, outlives every pod, and reaches it once."""

from __future__ import annotations

import asyncio
import signal
from contextlib import aclosing
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import msgspec
import nats
import pytest

from runtime import mail
from runtime.client import Client
from runtime.client.envelope import Envelope
from runtime.client.runs import Run
from runtime.errors import CallFailed, Rejected
from runtime.world import World
from schemas import control
from schemas import headers as names
from schemas.wire import Fact
from tests.host.test_steps import lines, owner
from tests.support.system import PodProcess, System, run, until
from tests.support.waiters import runner, slow, tired, waiter

MODULE = "tests.support.waiters"
RUNNING = "SELECT command_id FROM pending WHERE state = 'running'"


async def running(system: System, client: Client, method: str, args: Any, id: str = "run") -> Run:
    """A run of a waiter's handler, once it runs."""
    started = await client.submit(waiter, "w", method, args, id=id)
    await until(lambda: (id,) in system.sql(RUNNING))
    return started


async def replace(system: System, pods: list[PodProcess]) -> None:
    """Kills the last pod, and starts another one."""
    pods[-1].kill()
    pods.append(await asyncio.to_thread(system.start_pod, MODULE))


def noted(system: System, count: int) -> bool:
    return system.sql("SELECT count(*) FROM log WHERE payload->>'step' = 'note'") == [(count,)]


def said(system: System, what: str) -> int:
    ((count,),) = system.sql("SELECT count(*) FROM log WHERE type = %s", f"troupe.{what}")
    assert isinstance(count, int)
    return count


def test_given_a_signal_with_a_session_when_its_stream_and_the_log_are_read_then_both_name_the_run(
    system: System, tmp_path: Path
) -> None:
    class Page(msgspec.Struct):
        facts: list[Fact]

    async def scenario() -> None:
        async with system.pod(waiter), system.client() as client:
            notes = {"path": str(tmp_path / "notes"), "count": 1}
            started = await client.submit(waiter, "w", "collect", notes, id="run", session="s1")
            body, envelope = msgspec.json.encode(control.Signal("run", "value", 1)), Envelope(session="s1")
            await until(lambda: ("run",) in system.sql(RUNNING))
            await client.call("waiter", "w", control.SIGNAL, body, id="said", envelope=envelope)
            assert await started.result() == [1]
            asked = {"tenant": "default", "session": "s1", "after": {}, "limit": 100}
            page: Page = await client.service("session", asked, type=Page)
            live: dict[str | None, Fact] = {}
            async with aclosing(client.subscribe("s1", after=0)) as facts:
                async for _, fact in facts:
                    if fact.type == "event":
                        live[fact.position] = fact
                    if live.keys() == {one.position for one in page.facts}:
                        break
            assert [live[one.position].command for one in page.facts] == [one.command for one in page.facts]
            assert [one.command for one in page.facts if one.name == "troupe.signal"] == ["run"]

    run(scenario())


def test_given_a_held_key_when_signals_come_then_the_execution_gets_them_and_others_wait(
    system: System, tmp_path: Path
) -> None:
    path = tmp_path / "notes"

    async def scenario() -> None:
        async with system.pod(waiter), system.client() as client:
            collecting = await running(system, client, "collect", {"path": str(path), "count": 3, "fails": 2})
            putting = asyncio.ensure_future(client.ask(waiter, "w", "put", {"value": 9}))
            await until(lambda: system.sql("SELECT count(*) FROM pending") == [(2,)])
            saying = asyncio.ensure_future(collecting.signal("other", "kept for nobody"))
            await until(saying.done)
            await collecting.signal("value", 1, id="one")
            await collecting.signal("value", 1, id="one")
            await collecting.signal("value", 2)
            await until(lambda: lines(path) == ["value 1", "value 2"])
            assert not putting.done()
            await collecting.signal("value", 3)
            assert await collecting.result() == [1, 2, 3]
            assert await putting == 9
            with pytest.raises(CallFailed, match="run 'run' of default/waiter/w is not running") as caught:
                await collecting.signal("value", 4)
            assert caught.value.code == "not_running"

    run(scenario())
    assert lines(path) == ["value 1", "value 2", "value 3"], "each signal once, also after two failures"
    types = [row[0] for row in system.sql("SELECT payload->>'name' FROM log WHERE payload->>'name' = 'put'")]
    assert types == ["put"]


def test_given_a_message_for_what_hears_nothing_then_its_sender_is_told(system: System, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with system.pod(waiter), system.client() as client:
            collecting = await running(system, client, "collect", {"path": str(tmp_path / "notes"), "count": 1})
            putting = await client.submit(waiter, "w", "put", {"value": 9}, id="decision")
            asking = asyncio.ensure_future(collecting.update("nobody answers", 1, id="update"))
            await until(lambda: system.sql("SELECT count(*) FROM pending") == [(3,)])
            for run_id, say in product(("decision", "update"), (Run.signal, Run.update)):
                with pytest.raises(CallFailed, match="not_running.*is no execution, and hears nothing"):
                    await say(Run(client, "waiter", "w", run_id), "value", 1)
            with pytest.raises(CallFailed, match="not_running.*is no execution, and hears nothing"):
                await Run(client, "waiter", "w", "update").cancel()
            await putting.cancel("as it waits")
            with pytest.raises(CallFailed, match="cancelled before it ran: as it waits"):
                await putting.result()
            await collecting.signal("value", 1)
            assert await collecting.result() == [1]
            with pytest.raises(CallFailed, match="not_running"):
                await asking

    run(scenario())
    assert (said(system, "signal"), said(system, "update"), said(system, "cancel")) == (1, 1, 0)


def test_given_a_run_that_does_not_take_what_is_said_then_no_more_is_said_to_it_until_it_does(
    system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail, "MOST_UNTAKEN", 3)

    async def scenario() -> None:
        async with system.pod(waiter), system.client() as client:
            collecting = await running(system, client, "collect", {"path": str(tmp_path / "notes"), "count": 2})
            for number in range(2):
                await collecting.signal("other", number)
            await collecting.signal("value", 0)
            await until(lambda: lines(tmp_path / "notes") == ["value 0"])
            await collecting.signal("other", 2)
            refused = pytest.raises(CallFailed, match="too_many_requests.*messages, or too large ones")
            with refused:
                await collecting.signal("other", 3, id="refused")
            with refused:
                await collecting.update("other", 3)
            await collecting.cancel("it is told of that all the same")
            with pytest.raises(CallFailed, match="cancelled"):
                await collecting.result()

    run(scenario())
    assert said(system, "signal") == 4


def test_given_pods_killed_between_signals_then_each_is_taken_once_and_in_order(system: System, tmp_path: Path) -> None:
    path = tmp_path / "notes"
    pods = [system.start_pod(MODULE)]

    async def scenario() -> None:
        async with system.client() as client:
            collecting = await running(system, client, "collect", {"path": str(path), "count": 6})
            for number in range(0, 6, 2):
                await collecting.signal("value", number)
                await collecting.signal("value", number + 1)
                await until(partial(noted, system, number + 2))
                await replace(system, pods)
            assert await collecting.result() == [0, 1, 2, 3, 4, 5]

    run(scenario())
    assert lines(path) == [f"value {number}" for number in range(6)]
    assert system.sql("SELECT count(*) FROM pending") == [(0,)]


def test_given_a_signal_said_while_no_pod_runs_then_the_next_one_brings_it(system: System, tmp_path: Path) -> None:
    path = tmp_path / "notes"
    pods = [system.start_pod(MODULE)]

    async def scenario() -> None:
        async with system.client() as client:
            collecting = await running(system, client, "collect", {"path": str(path), "count": 1})
            pods[-1].kill()
            saying = asyncio.ensure_future(collecting.signal("value", 7))
            await asyncio.to_thread(system.start_pod, MODULE)
            await saying
            assert await collecting.result() == [7]

    run(scenario())


def test_given_a_wait_with_a_time_out_when_its_pod_dies_then_the_time_is_that_of_the_first_attempt(
    system: System, tmp_path: Path
) -> None:
    path = tmp_path / "notes"
    pods = [system.start_pod(MODULE)]

    async def scenario() -> None:
        async with system.client() as client:
            arguments = {"path": str(path), "timeout_s": 4.0}
            waiting = await running(system, client, "patient", arguments)
            await until(lambda: system.sql("SELECT payload->>'step' FROM log") == [("$until go",)])
            ((due,),) = system.sql("SELECT (payload->>'result')::float8 FROM log WHERE type = 'troupe.step'")
            await replace(system, pods)
            await until(lambda: lines(path) == ["timed out"])
            await until(lambda: said(system, "step") == 2)
            at = "SELECT extract(epoch FROM max(at))::float8 FROM log WHERE type = 'troupe.step'"
            ((timed_out_at,),) = system.sql(at)
            assert timed_out_at >= due - 0.01
            assert system.sql("SELECT (payload->>'result')::float8 FROM log WHERE seq = 1") == [(due,)]
            await replace(system, pods)
            await waiting.signal("go", "gone")
            assert await waiting.result() == "no signal 'go' came within 4 s, then gone"

    run(scenario())


def test_given_a_sleeping_execution_when_its_pod_dies_then_it_sleeps_what_is_left(
    system: System, tmp_path: Path
) -> None:
    path = tmp_path / "notes"
    pods = [system.start_pod(MODULE)]

    async def scenario() -> None:
        async with system.client() as client:
            napping = await running(system, client, "nap", {"path": str(path), "seconds": 5.0})
            await until(lambda: said(system, "step") == 2)
            await replace(system, pods)
            assert await napping.result() == "after"

    run(scenario())
    assert lines(path) == ["before", "after"]
    due, woken = system.sql(
        "SELECT (SELECT (payload->>'result')::float8 FROM log WHERE payload->>'step' = '$sleep'), "
        "(SELECT extract(epoch FROM at)::float8 FROM log WHERE payload->>'step' = 'after')"
    )[0]
    assert woken >= due - 0.01


def test_given_a_pod_that_leaves_while_its_execution_only_waits_then_its_lane_goes_at_once(
    system: System, tmp_path: Path
) -> None:
    path = tmp_path / "notes"
    pods = [system.start_pod(MODULE, drain_s=3600)]

    async def scenario() -> None:
        async with system.client() as client:
            collecting = await running(system, client, "collect", {"path": str(path), "count": 1})
            await asyncio.sleep(0.2)
            pods[0].process.send_signal(signal.SIGTERM)
            await until(lambda: pods[0].process.poll() is not None)  # it must not wait for a signal for an hour
            assert pods[0].process.returncode == 0
            assert system.sql("SELECT state, attempts FROM pending") == [("waiting", 0)]
            pods.append(await asyncio.to_thread(system.start_pod, MODULE))
            await collecting.signal("value", 5)
            assert await collecting.result() == [5]

    run(scenario())


def test_given_an_execution_that_would_undo_when_its_pod_leaves_then_nothing_is_undone_and_it_goes_on(
    system: System, tmp_path: Path
) -> None:
    path = tmp_path / "notes"
    pods = [system.start_pod(MODULE)]

    async def scenario() -> None:
        async with system.client() as client:
            travelling = await running(system, client, "journey", {"path": str(path)})
            await until(lambda: said(system, "step") == 1)
            await asyncio.to_thread(pods[0].terminate, 60)
            assert system.sql("SELECT state, attempts FROM pending") == [("waiting", 0)]
            pods.append(await asyncio.to_thread(system.start_pod, MODULE))
            await until(lambda: ("run",) in system.sql(RUNNING))
            assert lines(path) == ["book"]
            await travelling.cancel("rain")
            Path(f"{path}.go").touch()
            with pytest.raises(CallFailed, match="was cancelled: rain"):
                await travelling.result(timeout_s=60)

    run(scenario())
    assert lines(path) == ["book", "unbook", "tell"]
    assert system.sql("SELECT count(*) FROM dead_letters") == [(0,)]


def test_given_a_cancelled_execution_when_pods_die_while_it_undoes_then_each_step_ran_once_and_it_ends(
    system: System, tmp_path: Path
) -> None:
    path = tmp_path / "notes"
    pods = [system.start_pod(MODULE)]

    async def scenario() -> None:
        async with system.client() as client:
            travelling = await running(system, client, "journey", {"path": str(path)})
            await until(lambda: said(system, "step") == 1)
            await travelling.cancel("rain")
            await travelling.cancel("rain again")
            await until(lambda: said(system, "step") == 3)
            await replace(system, pods)
            await until(lambda: (("run",) in system.sql(RUNNING)) and owner(system, pods) is pods[-1])
            Path(f"{path}.go").touch()
            with pytest.raises(CallFailed, match="was cancelled: rain") as caught:
                await travelling.result(timeout_s=120)
            assert caught.value.code == "cancelled"
            with pytest.raises(CallFailed) as caught:
                await travelling.cancel()
            assert caught.value.code == "not_running"

    run(scenario())
    assert lines(path) == ["book", "unbook", "tell"]
    steps = system.sql("SELECT payload->>'step' FROM log WHERE type = 'troupe.step' ORDER BY seq")
    assert steps == [("book",), ("$cancelled",), ("unbook",), ("tell",)]
    assert system.sql("SELECT count(*) FROM dead_letters") == [(0,)]


def test_given_a_pod_killed_before_a_cancelled_handler_did_anything_about_it_then_the_next_attempt_is_told(
    system: System, tmp_path: Path
) -> None:
    path = tmp_path / "notes"
    pods = [system.start_pod(MODULE)]

    async def scenario() -> None:
        async with system.client() as client:
            travelling = await running(system, client, "journey", {"path": str(path)})
            await until(lambda: said(system, "step") == 1)
            pods[-1].freeze()
            cancelling = asyncio.ensure_future(travelling.cancel())
            await asyncio.sleep(0.3)
            pods[-1].kill()
            Path(f"{path}.go").touch()
            pods.append(await asyncio.to_thread(system.start_pod, MODULE))
            await cancelling
            with pytest.raises(CallFailed, match="was cancelled: no reason was given"):
                await travelling.result(timeout_s=120)

    run(scenario())
    assert lines(path) == ["book", "unbook", "tell"]


def test_given_commands_in_every_state_when_they_are_cancelled_then_each_ends_as_it_should(
    system: System, tmp_path: Path
) -> None:
    path = tmp_path / "notes"

    async def scenario() -> None:
        async with system.pod(waiter, runner, tired), system.client() as client:
            first = await running(system, client, "stubborn", {"path": str(path)})
            queued = await client.submit(waiter, "w", "put", {"value": 1}, id="queued")
            behind = await client.submit(waiter, "w", "journey", {"path": str(path)}, id="behind")
            last = await client.submit(waiter, "w", "put", {"value": 2}, id="last")
            await until(lambda: system.sql("SELECT count(*) FROM pending") == [(4,)])
            await queued.cancel("not wanted")
            with pytest.raises(CallFailed, match=r"waiter/w.put .* was cancelled before it ran: not wanted"):
                await queued.result()
            await behind.cancel()
            await first.cancel("enough")
            assert await first.result() == "done all the same: enough"
            with pytest.raises(CallFailed, match="was cancelled"):
                await behind.result()
            assert await last.result() == 2
            failing = await client.submit(tired, "t", "fail", {"path": str(path)}, id="fails")
            await until(lambda: system.sql("SELECT state FROM pending") == [("backoff",)])
            await failing.cancel()
            with pytest.raises(CallFailed, match="was cancelled"):
                await failing.result()
            assert lines(path) == ["attempt"]
            sleeping = await client.submit(runner, "r", "run", {"path": str(path)}, id="sleeps")
            await until(lambda: "begin" in lines(path))
            await sleeping.cancel()
            with pytest.raises(CallFailed, match="was cancelled"):
                await sleeping.result()

    run(scenario())
    assert "book" not in lines(path), "what was cancelled before it began does nothing"
    assert system.sql("SELECT count(*) FROM pending") == [(0,)]


def test_given_updates_then_the_handler_answers_or_refuses_them_and_what_it_leaves_fails(
    system: System, tmp_path: Path
) -> None:
    path = tmp_path / "notes"
    pods = [system.start_pod(MODULE)]

    async def scenario() -> None:
        async with system.client() as client:
            serving = await running(system, client, "desk", {"path": str(path), "count": 3})
            four = asyncio.ensure_future(serving.update("number", 4, id="four", timeout_s=120))
            await until(lambda: lines(path) == ["seen 4"])
            five = asyncio.ensure_future(serving.update("number", 5, id="five", timeout_s=120))
            await until(lambda: said(system, "update") == 2)
            await replace(system, pods)
            Path(f"{path}.4").touch()
            assert await four == {"half": 2}
            assert await serving.update("number", 4, id="four") == {"half": 2}
            Path(f"{path}.5").touch()
            with pytest.raises(Rejected, match="5 is odd"):
                await five
            await replace(system, pods)
            last = asyncio.ensure_future(serving.update("number", 6, type=dict[str, int], timeout_s=120))
            late = asyncio.ensure_future(serving.update("number", 8, id="late", timeout_s=120))
            await until(lambda: said(system, "update") == 4)
            Path(f"{path}.6").touch()
            Path(f"{path}.8").touch()
            served = await serving.result()
            done, failed = (last, late) if served[-1] == 6 else (late, last)
            assert await done == {"half": served[-1] // 2}
            with pytest.raises(CallFailed, match="is not running") as caught:
                await failed
            assert caught.value.code == "not_running"
            assert served[:2] == [4, 5]

    run(scenario())
    assert said(system, "update") == 4
    assert system.sql("SELECT count(*) FROM pending") == [(0,)]


@pytest.mark.parametrize(
    ("method", "body", "code"),
    [
        ("$signal", b"", "invalid_arguments"),
        ("$signal", b"{", "invalid_arguments"),
        ("$signal", b'{"run": "run"}', "invalid_arguments"),
        ("$signal", b'{"run": "run", "name": ""}', "invalid_arguments"),
        ("$signal", b'{"run": "run", "name": "' + b"n" * 101 + b'"}', "invalid_arguments"),
        ("$signal", b'{"run": "r n", "name": "n"}', "invalid_arguments"),
        ("$signal", b'{"run": "run", "name": "n", "more": 1}', "invalid_arguments"),
        ("$signal", b'{"run": "run", "name": "n", "value": ' + b"[" * 300 + b"]" * 300 + b"}", "invalid_arguments"),
        ("$signal", b'{"run": "run", "name": "n", "value": "\\ud800"}', "invalid_arguments"),
        ("$signal", b'{"run": "other", "name": "n"}', "not_running"),
        ("$cancel", b'{"run": 5}', "invalid_arguments"),
        ("$cancel", b'{"run": "other"}', "not_running"),
        ("$update", b'{"run": "other", "name": "n"}', "not_running"),
        ("$other", b'{"run": "run"}', "unknown_method"),
    ],
)
def test_given_nonsense_from_any_program_then_it_is_refused_and_the_run_goes_on(
    shared_system: System, tmp_path: Path, method: str, body: bytes, code: str
) -> None:
    async def scenario() -> None:
        async with shared_system.pod(waiter), shared_system.client() as client:
            raw = await nats.connect(shared_system.nats_url, inbox_prefix=b"_INBOX.default")
            id = f"run-{tmp_path.name}"
            body_ = body.replace(b'"run": "run"', f'"run": "{id}"'.encode())
            collecting = await client.submit(waiter, id, "collect", {"path": str(tmp_path / "n"), "count": 1}, id=id)
            await until(lambda: (id,) in shared_system.sql(RUNNING))
            reply = await ask_raw(raw, f"cmd.default.waiter.{id}.{method}", body_)
            assert reply["error"]["code"] == code, reply
            plain = msgspec.msgpack.encode({"run": id, "name": "value", "value": 3})
            reply = await ask_raw(
                raw, f"cmd.default.waiter.{id}.$signal", plain, {"Content-Type": "application/msgpack"}
            )
            assert await collecting.result() == [3]
            await raw.close()

    run(scenario())


async def ask_raw(raw: Any, subject: str, body: bytes, headers: dict[str, str] | None = None) -> Any:
    """The reply to a command published by hand."""
    inbox = raw.new_inbox()
    replies = await raw.subscribe(inbox)
    await raw.publish(subject, body, headers={names.REPLY: inbox, **(headers or {})})
    message = await replies.next_msg(timeout=60)
    packed = headers is not None
    return msgspec.msgpack.decode(message.data) if packed else msgspec.json.decode(message.data)


def test_given_an_asker_killed_while_it_waits_then_the_answer_comes_to_its_next_owner_unasked(
    system: System, tmp_path: Path
) -> None:
    path = tmp_path / "notes"
    pods = [system.start_pod(MODULE), system.start_pod(MODULE)]

    async def scenario() -> None:
        async with system.client() as client:
            arguments = {"path": str(path), "to": "s"}
            asking = await running(system, client, "question", arguments)
            await until(lambda: lines(path) == ["think"])
            Path(f"{path}.answer").touch()
            await until(lambda: said(system, "answer") == 1)
            # An answer that is sent again would be told from the first one by the inbox alone.
            await until(lambda: system.sql("SELECT count(*) FROM outbox") == [(0,)])
            # The asker has the answer in its own log: nothing that the other one still knows is needed.
            await until(lambda: system.sql("SELECT count(*) FROM outbox") == [(0,)])
            system.sql("DELETE FROM inbox")
            for pod in pods:
                pod.kill()
            pods.append(await asyncio.to_thread(system.start_pod, MODULE))
            await until(lambda: ("run",) in system.sql(RUNNING))
            Path(f"{path}.end").touch()
            assert await asking.result(timeout_s=120) == "thought"

    run(scenario())
    assert lines(path) == ["think"], "a second question would have been thought about again"
    assert said(system, "answer") == 1


def test_given_everything_killed_while_the_asked_one_thinks_then_the_answer_comes_once(
    system: System, tmp_path: Path
) -> None:
    path = tmp_path / "notes"
    pods = [system.start_pod(MODULE)]

    async def scenario() -> None:
        async with system.client() as client:
            asking = await running(system, client, "question", {"path": str(path), "to": "s"})
            await until(lambda: lines(path) == ["think"])
            pods[0].kill()
            Path(f"{path}.answer").touch()
            Path(f"{path}.end").touch()
            pods.append(await asyncio.to_thread(system.start_pod, MODULE))
            await until(lambda: said(system, "answer") == 1)
            assert await asking.result(timeout_s=120) == "thought"

    run(scenario())
    assert said(system, "answer") == 1


def test_given_an_answer_that_is_late_or_large_or_a_refusal_then_the_asker_gets_it(
    system: System, tmp_path: Path
) -> None:
    path = tmp_path / "notes"
    Path(f"{path}.end").touch()

    async def scenario() -> None:
        async with system.pod(waiter, slow), system.client() as client:
            arguments = {"path": str(path), "to": "s", "timeout_s": 0.3}
            late = await running(system, client, "question", arguments, "late")
            await until(lambda: system.sql("SELECT attempts FROM pending WHERE command_id = 'late'") >= [(2,)])
            Path(f"{path}.answer").touch()
            assert await late.result() == "thought"
            arguments = {"path": str(path), "to": "big", "size": 2_000_000}
            assert await client.ask(waiter, "w", "question", arguments, timeout_s=60) == 2_000_000
            with pytest.raises(Rejected, match="no thought"):
                await client.ask(waiter, "w", "question", {"path": str(path), "to": "no", "size": -1})

    run(scenario())
    assert lines(path) == ["think"] * 3


def test_given_a_world_then_signals_said_before_reach_the_handler_and_sleeping_moves_its_clock(tmp_path: Path) -> None:
    world = World(waiter)
    path = tmp_path / "notes"
    for number in (1, 2):
        world.signal(waiter, "w", "run", "value", number)
    assert world.ask(waiter, "w", "collect", {"path": str(path), "count": 2, "fails": 2}, id="run") == [1, 2]
    before = world.clock.now()
    assert world.ask(waiter, "w", "nap", {"path": str(path), "seconds": 3600.0}) == "after"
    assert world.clock.now() >= before + 3600
    with pytest.raises(CallFailed, match="no signal 'value' is there, and none can come meanwhile"):
        world.ask(waiter, "w", "collect", {"path": str(path), "count": 1})
    world.replay()
