"""A group that nobody runs any more: it is named, it can be retired, and nothing of it is lost."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from runtime.client import Client
from runtime.errors import CallFailed, Rejected
from runtime.host.pod import Pod
from tests.host.test_versions import order, trim
from tests.support.kinds import Add, counter, double
from tests.support.system import System, run, until


async def warnings(client: Client) -> list[str]:
    """What /ready warns of."""
    found: dict[str, Any] = await client.service("ready")
    told: list[str] = found["warnings"]
    return told


async def trimmed(pod: Pod) -> bool:
    return await trim(pod) <= 1


def test_given_a_group_that_nobody_runs_when_it_is_retired_then_trimming_goes_on_and_its_commands_are_kept(
    system: System,
) -> None:
    async def scenario() -> None:
        async with system.client() as client, system.pod(counter, group="front", trim_lag_s=0.0) as front:
            async with system.pod(double, group="back"):
                assert await client.ask(double, "k", "run", {"x": 1}) == 2
                assert await warnings(client) == []
                with pytest.raises(Rejected, match=r"group 'back' is served by back-"):
                    await client.service("retire", {"group": "back"})
            await client.tell(double, "k", "run", {"x": 21}, id="late")
            await asyncio.gather(*[client.ask(counter, f"k{n}", Add(1)) for n in range(20)])
            assert await trim(front) > 20, "the stream is kept for the group"
            (warning,) = await warnings(client)
            assert "'back'" in warning
            assert "runtime groups retire back" in warning
            done = await client.service("retire", {"group": "back"})
            assert (done["group"], done["kinds"], done["pending"]) == ("back", ["double"], 0)
            assert await warnings(client) == []
            await until(lambda: trimmed(front))
            assert system.sql("SELECT command_id, status FROM dead_letters") == [("late", "parked")]
            # Taken up again: what was parked can be replayed, what comes is done.
            async with system.pod(double, group="back") as back:
                assert system.sql("SELECT count(*) FROM groups WHERE retired_at IS NULL") == [(2,)]
                assert await client.ask(double, "k", "run", {"x": 4}) == 8
                ((letter,),) = system.sql("SELECT id FROM dead_letters")
                assert "error" not in await order(back, "double", "k", "replay", dead_letter=letter)
                await until(lambda: ("42",) in system.sql("SELECT result FROM inbox"))

    run(scenario())


def test_given_a_group_that_is_not_there_when_retired_then_the_error_says_so(system: System) -> None:
    async def scenario() -> None:
        async with system.pod(counter), system.client() as client:
            with pytest.raises(CallFailed, match="there is no group 'nobody'") as caught:
                await client.service("retire", {"group": "nobody"})
            assert caught.value.code == "not_found"

    run(scenario())


def test_given_a_kind_taken_away_when_the_stream_is_full_then_only_what_was_not_done_is_kept(system: System) -> None:
    async def scenario() -> None:
        async with system.client() as client:
            async with system.pod(counter, double):
                assert await client.ask(double, "k", "run", {"x": 1}, id="done") == 2
                with pytest.raises(CallFailed, match="invalid_arguments"):
                    await client.ask(double, "k", "run", {"x": "one"}, id="refused")
            async with system.pod(counter, trim_lag_s=0.0) as pod:
                await client.tell(double, "k", "run", {"x": 21}, id="late")
                await client.ask(counter, "a", Add(1))
                jetstream = pod.connection.jetstream()
                info = await jetstream.stream_info("CMD")
                info.config.max_bytes = info.state.bytes + 100
                await jetstream.update_stream(info.config)
                await until(lambda: trimmed(pod))

    run(scenario())
    assert system.sql("SELECT command_id FROM dead_letters") == [("late",)]
