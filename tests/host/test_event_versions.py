"""Events of a version that the running code does not know yet, as a roll-back meets them, in a real log."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from runtime.entity import Entity, entity
from runtime.errors import CallFailed
from runtime.turn import Turn
from schemas.address import actor_id
from tests.support.kinds import Add, Added, Counter, apply
from tests.support.system import System, run, until


def counting(*, version: int) -> Entity[Counter]:
    """The kind `tally` of code that writes Added in this version."""
    kind = entity("tally", initial=Counter(), apply=apply, snapshot_every=0)

    @kind.command
    def add(state: Counter, command: Add, ctx: Turn) -> Added:
        ctx.reply(state.value + command.amount)
        return Added(command.amount)

    @kind.query
    def value(state: Counter) -> int:
        return state.value

    for older in range(1, version):

        @kind.upcast(Added, from_version=older)
        def unchanged(fields: dict[str, Any]) -> dict[str, Any]:
            return fields

    return kind


def test_given_an_event_of_a_newer_version_when_older_code_meets_it_then_only_its_actor_stops_and_nothing_is_lost(
    system: System,
) -> None:
    older, newer = counting(version=1), counting(version=2)

    async def scenario() -> None:
        async with system.client() as client:
            async with system.pod(older):
                await asyncio.gather(*[client.ask("tally", key, "add", {"amount": 1}) for key in ("new", "old")])
            async with system.pod(newer):
                assert await client.ask("tally", "new", "add", {"amount": 10}) == 11
            assert system.sql("SELECT key, version FROM log ORDER BY key, seq") == [("new", 1), ("new", 2), ("old", 1)]
            async with system.pod(older) as pod:
                with pytest.raises(CallFailed) as caught:
                    await client.ask("tally", "new", "add", {"amount": 100}, id="kept")
                assert caught.value.code == "unreadable_log"
                said = str(caught.value)
                assert "default/tally/new" in said and "event 2" in said and "'Added' version 2" in said
                assert "newer than this code, which knows 1" in said
                with pytest.raises(CallFailed):
                    await client.query("tally", "new", "value")
                for n in range(5):
                    assert await client.ask("tally", "old", "add", {"amount": 1}) == n + 2
                assert not pod.failed.is_set()
            assert system.sql("SELECT key, command_id, status FROM dead_letters") == [("new", "kept", "parked")]
            async with system.pod(newer):
                ((letter,),) = system.sql("SELECT id FROM dead_letters")
                await client.query("tally", "new", "$order", {"what": "replay", "dead_letter": letter})

                async def counted() -> bool:
                    return bool(await client.query("tally", "new", "value") == 111)

                await until(counted)
                assert await client.ask("tally", "old", "add", {"amount": 1}) == 7

    run(scenario())
    added = "SELECT payload->>'amount' FROM events WHERE type = 'Added' AND actor = %s ORDER BY seq"
    assert system.sql(added, actor_id("default", "tally", "new")) == [("1",), ("10",), ("100",)]
