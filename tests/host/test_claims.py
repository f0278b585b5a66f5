"""Parked commands whose bodies are too large for a message: they are kept with their bodies, and can be replayed."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.client import Envelope
from runtime.client.objects import Objects, digest_of
from runtime.errors import CallFailed
from runtime.function import function
from runtime.host.pod import Pod
from runtime.policy import RetryPolicy
from schemas import headers as names
from schemas.subjects import OBJECT_BUCKET
from tests.host.test_versions import order, trim
from tests.support.kinds import Add, counter
from tests.support.system import System, run, until

LARGE = {"text": "x" * 1_500_000}

broken = True


@function(retry=RetryPolicy(max_attempts=1))
def measure(text: str) -> int:
    if broken:
        raise ValueError("not today")
    return len(text)


@pytest.fixture
def mended(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Called, it lets `measure` succeed for the rest of the test."""
    return lambda: monkeypatch.setattr("tests.host.test_claims.broken", False)


async def forget_objects(pod: Pod) -> None:
    await pod.connection.jetstream().delete_object_store(OBJECT_BUCKET)
    pod.objects = Objects(pod.connection)


async def replay(pod: Pod, letter: int) -> dict[str, Any]:
    return await order(pod, "measure", "a", "replay", dead_letter=letter)


async def result(system: System, expected: str) -> None:
    await until(lambda: (expected,) in system.sql("SELECT result FROM inbox WHERE NOT failed"))


def parked(system: System) -> list[Any]:
    return system.sql("SELECT id, octet_length(body), headers LIKE '%%Troupe-Object%%' FROM dead_letters ORDER BY id")


def test_given_a_large_command_that_was_parked_when_its_object_is_gone_then_it_can_be_replayed(
    system: System, mended: Any
) -> None:
    async def scenario() -> None:
        async with system.pod(measure) as pod, system.client() as client:
            with pytest.raises(CallFailed, match="not today"):
                await client.ask(measure, "a", "run", LARGE)
            ((letter, size, checked),) = parked(system)
            assert (size > 1_500_000, checked) == (True, False)
            shown = (await client.service("dead", {"tenant": "default", "id": letter}))["letter"]
            assert (shown["body_bytes"], len(shown["body"])) == (size, 65536)
            await forget_objects(pod)
            mended()
            assert "error" not in await replay(pod, letter)
            await result(system, "1500000")

    run(scenario())


def test_given_a_large_command_of_a_kind_that_nobody_served_when_it_is_replayed_then_it_has_its_body(
    system: System, mended: Any
) -> None:
    mended()

    async def scenario() -> None:
        async with system.client() as client:
            async with system.pod(counter, trim_lag_s=0.0) as pod:
                await client.tell("measure", "a", "run", LARGE)
                await client.ask(counter, "a", Add(1))
                await until(lambda: alone(pod))
            ((letter, size, checked),) = parked(system)
            assert (size > 1_500_000, checked) == (True, False)
            async with system.pod(counter, measure) as pod:
                await forget_objects(pod)
                assert "error" not in await replay(pod, letter)
                await result(system, "1500000")

    run(scenario())


async def alone(pod: Pod) -> bool:
    return await trim(pod) <= 1


def test_given_a_parked_command_whose_body_was_not_there_when_it_is_replayed_then_it_is_fetched_or_said_to_be_gone(
    system: System, mended: Any
) -> None:
    mended()
    body = b'{"text":"late"}'

    async def scenario() -> None:
        async with system.pod(measure) as pod, system.client() as client:
            late = {names.OBJECT: "default/late"}
            sent = await client.submit_body("measure", "a", "run", digest_of(body), envelope=Envelope(headers=late))
            with pytest.raises(CallFailed, match="default/late"):
                await sent.result(timeout_s=60)
            ((letter, _, checked),) = parked(system)
            assert checked
            refused = await replay(pod, letter)
            assert refused["error"]["code"] == "not_found"
            assert "drop the letter" in refused["error"]["message"]
            assert system.sql("SELECT status FROM dead_letters") == [("parked",)]
            await Objects(client.connection).put("default/late", body)
            assert "error" not in await replay(pod, letter)
            await result(system, "4")

    run(scenario())
