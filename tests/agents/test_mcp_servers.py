"""Tools of a real MCP server, by the official client: its results, its errors, its death."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from actors.agents import Agent
from actors.agents.mcp_servers import MCPServer
from actors.agents.remote import ToolFailed
from actors.agents.tools import BadCall
from actors.models.calling import Caller
from actors.models.current import using
from actors.models.fleet import Fleet
from actors.sessions.session import Answer, Task, session
from runtime import BadDefinition
from runtime.testing import World
from tests.agents.scripted import Scripted
from tests.support.mcp_shop import served

PROGRAM = (sys.executable, "-m", "tests.support.mcp_shop")
PATIENCE_S = 120.0


@pytest.fixture
def model() -> Iterator[Scripted]:
    scripted = Scripted()
    with using(Caller(Fleet(), lambda _: scripted)):
        yield scripted


@pytest.fixture(scope="module")
def shop() -> Iterator[MCPServer]:
    env = {"SHOP_TOKEN": "${shop}"}
    server = MCPServer("shop", command=PROGRAM, env=env, connect_timeout_s=PATIENCE_S, timeout_s=PATIENCE_S)
    yield server
    asyncio.run(server.close())


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIME_SECRET_SHOP", "twelve-chars")


def test_given_a_program_when_its_tools_are_called_then_their_results_of_all_kinds_are_texts(
    shop: MCPServer,
) -> None:
    async def scenario() -> None:
        specs = {one.name: one for one in await shop.specs()}
        assert list(specs) == ["shop__price", "shop__everything", "shop__token", "shop__wait"]
        assert specs["shop__price"].description == "What so many cost."
        assert specs["shop__price"].parameters["required"] == ["item"]
        assert await shop.call("shop__price", {"item": "lamp", "count": 3}) == "3 lamp: 6 EUR"
        assert (await shop.call("shop__everything", {})).splitlines() == [
            "a text", "[image image/png, 8 bytes]", "[resource terms: shop://terms]", "pay first",
        ]  # fmt: skip
        assert await shop.call("shop__token", {}) == "12 characters"
        with pytest.raises(ToolFailed, match="there is no such item"):
            await shop.call("shop__price", {"item": "nothing"})
        with pytest.raises(BadCall, match=r"'three' is not of type 'integer', at \$\.count"):
            await shop.call("shop__price", {"item": "lamp", "count": "three"})
        with pytest.raises(BadCall, match="there is no tool 'shop__sell'; MCP server 'shop' has shop__everything"):
            await shop.call("shop__sell", {})

    asyncio.run(scenario())


def test_given_a_program_that_dies_in_a_call_when_the_model_calls_again_then_it_is_started_anew(
    model: Scripted, shop: MCPServer
) -> None:
    model.calls("shop__price", item="bomb")
    model.calls("shop__price", item="lamp")
    model.says("2 EUR")
    agent = Agent("buyer", tools=[shop])
    answer = World(session, agent).ask(agent, "r1", "run", Task("", 0, "How much?"), type=Answer)
    told = [one.content for one in answer.messages if one.role == "tool"]
    assert "the connection to MCP server 'shop' broke: Connection closed" in told[0]
    assert told[1] == "1 lamp: 2 EUR"
    assert model.asked[0].tools[0].name == "shop__price"


def test_given_a_url_when_its_tools_are_called_then_a_hanging_one_times_out_and_the_others_go_on(
    model: Scripted,
) -> None:
    model.calls("slow__wait")
    model.calls("shop__price", item="lamp", count="many")
    model.calls("shop__price", item="lamp")
    model.says("2 EUR")
    with served() as url:
        server = MCPServer("shop", url=url, only=("price",), connect_timeout_s=PATIENCE_S, timeout_s=PATIENCE_S)
        slow = MCPServer("slow", url=url, only=("wait",), connect_timeout_s=PATIENCE_S, timeout_s=0.2)
        agent = Agent("buyer", tools=[server, slow])
        answer = World(session, agent).ask(agent, "r1", "run", Task("", 0, "How much?"), type=Answer)
        asyncio.run(server.close())
        asyncio.run(slow.close())
    told = [one.content for one in answer.messages if one.role == "tool"]
    assert "tool 'slow__wait' took longer than its time-out, 0.2 s" in told[0]
    assert "do not fit: 'many' is not of type 'integer', at $.count" in told[1]
    assert told[2] == "1 lamp: 2 EUR"
    assert [tool.name for tool in model.asked[0].tools] == ["shop__price", "slow__wait"]


def test_given_a_server_that_is_not_there_when_its_tools_are_wanted_then_the_error_says_which() -> None:
    server = MCPServer("shop", command=["/nowhere/to/be/found"])
    with pytest.raises(Exception, match="MCP server 'shop' cannot be reached: .*/nowhere/to/be/found"):
        asyncio.run(server.specs())


def test_given_both_a_command_and_a_url_when_a_server_is_defined_then_it_is_no_definition() -> None:
    with pytest.raises(BadDefinition, match="by a command or by a URL"):
        MCPServer("shop", command=["x"], url="http://127.0.0.1/")


def test_given_tools_that_a_person_approves_when_they_are_looked_up_then_only_these_ask_first() -> None:
    server = MCPServer("shop", command=["x"], confirmation=("price",))
    asked = [server.find(name) for name in ("shop__price", "shop__wait", "another__price")]
    assert [None if one is None else one.asks_first({}) for one in asked] == [True, False, None]


def test_given_a_program_that_says_nothing_when_nobody_waits_for_it_any_more_then_it_is_ended(tmp_path: Path) -> None:
    place = tmp_path / "pid"
    code = f"import os, sys, time; open({str(place)!r}, 'w').write(str(os.getpid()) + '.'); time.sleep(600)"
    server = MCPServer("mute", command=[sys.executable, "-c", code], connect_timeout_s=PATIENCE_S)

    async def scenario() -> None:
        asking = asyncio.create_task(server.specs())
        while not (place.exists() and place.read_text().endswith(".")):
            await asyncio.sleep(0.05)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        pid = int(place.read_text()[:-1])
        async with asyncio.timeout(PATIENCE_S):
            while psutil.pid_exists(pid):
                await asyncio.sleep(0.05)

    asyncio.run(scenario())
