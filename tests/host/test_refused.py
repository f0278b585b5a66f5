"""What was refused stays refused, whoever reads it again, and whoever asks what became of it; its id stays free."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from runtime.client import Client, Run
from runtime.entity import Entity, entity
from runtime.errors import CallFailed
from runtime.host.pod import Pod
from schemas import headers as names
from tests.support.kinds import Add, cart, counter, double
from tests.support.system import System, run, until


class Struck(Struct, frozen=True):
    times: int = 1


def strike(state: int, event: Struck) -> int:
    """The fold of `bell`."""
    return state + event.times


def bell_of(*, newer: bool) -> Entity[int]:
    """A kind `bell`; the newer one has a method more, and takes arguments that the older one refuses."""
    bell = entity("bell", initial=0, apply=strike)

    @bell.command
    def once(state: int) -> Struck:
        return Struck()

    if newer:

        @bell.command
        def often(state: int, times: int) -> Struck:
            return Struck(times)

        @bell.command(name="loudly")
        def loudly_by_anyone(state: int, times: int | str) -> Struck:
            return Struck(int(times))

    else:

        @bell.command
        def loudly(state: int, times: int) -> Struck:
            return Struck(times)

    return bell


async def refused(client: Client, method: str, args: Any, id: str, **more: Any) -> str:
    """The code with which `bell` a refuses a command."""
    with pytest.raises(CallFailed) as caught:
        await client.ask("bell", "a", method, args, id=id, **more)
    return caught.value.code


def test_given_refusals_when_newer_code_reads_the_stream_again_then_what_was_refused_stays_undone(
    system: System,
) -> None:
    passed = {names.DEADLINE: "1000"}

    async def scenario() -> None:
        async with system.client() as client:
            async with system.pod(bell_of(newer=False)):
                assert await refused(client, "often", {"times": 100}, "method") == "unknown_method"
                assert await refused(client, "loudly", {"times": "200"}, "arguments") == "invalid_arguments"
                assert await refused(client, "once", None, "deadline", headers=passed) == "expired"
                await client.ask("bell", "a", "once")
            async with system.pod(bell_of(newer=True), double):  # a kind more: the stream is read from its start
                await client.ask("bell", "a", "once")
                assert await refused(client, "often", {"times": 100}, "method") == "unknown_method"
                assert await refused(client, "loudly", {"times": "200"}, "arguments") == "invalid_arguments"
                assert (await Run(client, "bell", "a", "method").status()).status == "failed"
                # Corrected, under the same ids:
                await client.ask("bell", "a", "often", {"times": 1000}, id="method")
                await client.ask("bell", "a", "loudly", {"times": "2000"}, id="arguments")
                await client.ask("bell", "a", "once", id="deadline")
                # What was refused before is answered as before, also beside what was done under its id.
                assert await refused(client, "loudly", {"times": "200"}, "arguments") == "invalid_arguments"
                assert await refused(client, "loudly", {"times": "3"}, "arguments") == "id_reused"

    run(scenario())
    assert system.sql("SELECT payload->>'times' FROM events ORDER BY seq") == [
        ("1",), ("1",), ("1000",), ("2000",), ("1",)]  # fmt: skip


def test_given_a_submitted_command_that_is_refused_when_looked_for_then_its_run_says_why(system: System) -> None:
    async def scenario() -> None:
        async with system.pod(counter, cart), system.client() as client:
            first = await client.submit(counter, "a", "take", {"amount": "1"}, id="one")
            with pytest.raises(CallFailed, match="Expected `int`") as caught:
                await client.run(first.id).result(timeout_s=60)
            assert (caught.value.code, caught.value.path) == ("invalid_arguments", "$.amount")
            # The same id with other arguments is another run, from the start.
            await client.ask(counter, "a", Add(5))
            second = client.run_of("counter", "a", "take", b'{"amount":1}', "one")
            assert (await second.status()).status == "unknown"
            waiting = asyncio.ensure_future(second.status(wait_s=60))
            third = await client.submit(counter, "a", "take", {"amount": 1}, id="one")
            assert third.id == second.id
            assert (await waiting).status == "done"
            assert (await first.status()).error == (await client.run(first.id).status(wait_s=1)).error
            with pytest.raises(CallFailed) as caught:
                await client.run_of("counter", "a", "take", b'{"amount":2}', "one").result()
            assert caught.value.code == "id_reused"
            late = await client.submit(counter, "a", Add(5), deadline_s=-1)
            with pytest.raises(CallFailed) as caught:
                await client.run(late.id).result(timeout_s=60)
            assert caught.value.code == "expired"

    run(scenario())


def test_given_a_command_that_waited_when_its_turn_refuses_it_then_its_run_says_so_and_its_id_is_free(
    system: System, tmp_path: Path
) -> None:
    path = tmp_path / "go"

    async def scenario() -> None:
        async with system.pod(cart), system.client() as client:
            slow = {"item": "tea", "quantity": 5, "path": str(path)}
            running = asyncio.ensure_future(client.ask(cart, "c", "put_slowly", slow))
            await until(lambda: system.sql("SELECT state FROM pending") == [("running",)])
            waiting = await client.submit(cart, "c", "put", {"item": 3}, id="put")
            await until(lambda: system.sql("SELECT count(*) FROM pending") == [(2,)])
            assert (await client.run(waiting.id).status()).status == "accepted"
            path.touch()
            with pytest.raises(CallFailed) as caught:
                await client.run(waiting.id).result(timeout_s=60)
            assert caught.value.code == "invalid_arguments"
            assert await running == 5
            assert await client.ask(cart, "c", "put", {"item": "milk"}, id="put") == 1

    run(scenario())


def test_given_a_query_that_is_sent_as_a_command_when_looked_for_then_its_run_has_the_answer(system: System) -> None:
    async def scenario() -> None:
        async with system.pod(counter), system.client() as client:
            await client.ask(counter, "a", Add(5))
            first = await client.submit("counter", "a", "value", session="s")
            assert await client.run(first.id).result(timeout_s=60) == 5

    run(scenario())
    assert system.sql("SELECT count(*) FROM events") == [(1,)]


def test_given_refusals_older_than_the_window_when_trimmed_then_they_go(system: System) -> None:
    async def scenario() -> None:
        async with system.pod(counter, trim_lag_s=0.0, inbox_window_s=0.0) as pod, system.client() as client:
            for number in range(3):
                with pytest.raises(CallFailed):
                    await client.ask(counter, "a", "nonsense", id=f"early-{number}")
            await pod.housekeeping.trim_inbox()
            assert system.sql("SELECT count(*) FROM refused") == [(3,)], "the stream still holds their commands"
            await client.ask(counter, "a", Add(1))
            await until(lambda: alone(pod))
            system.sql("UPDATE refused SET at = at - interval '6 minutes'")  # more than the clocks may differ
            await pod.housekeeping.trim_inbox()

    run(scenario())
    assert system.sql("SELECT count(*) FROM refused") == [(0,)]


async def alone(pod: Pod) -> bool:
    """Whether CMD holds no more than its last message, after trimming."""
    await pod.housekeeping.move_anchors()
    await asyncio.sleep(0.05)
    await pod.housekeeping.trim()
    return int((await pod.connection.jetstream().stream_info("CMD")).state.messages) <= 1
