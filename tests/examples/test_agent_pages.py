"""The pages about agents: their snippets run, one after the other, and do what the pages say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors.agents import Agent
from actors.models.offline import MARK
from actors.sessions.session import Answer, Task
from actors.turns import Late, Turn
from actors.turns.queue import Queue
from runtime import Rejected
from runtime.testing import World
from runtime.yields import values_of

DOCS = Path(__file__).parents[2] / "docs"


def names_of(page: str) -> dict[str, Any]:
    """What the snippets of a page define."""
    names: dict[str, Any] = {"__name__": "page"}
    for snippet in re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL):
        exec(compile(snippet, page, "exec"), names)
    return names


def test_given_the_page_of_tools_then_its_agents_do_what_it_says() -> None:
    page = names_of("tools.md")

    def answered(agent: Agent, text: str) -> Answer:
        return World(agent).ask(agent, "r1", "run", Task("", 0, text), type=Answer)  # type: ignore[no-any-return]  # read as `type`

    careful, counter, reader = page["careful"], page["counter"], page["reader"]
    assert answered(careful, "refund order A7, amount 7").text == f"{MARK} refunded 7 EUR of A7 (no session)"
    assert answered(careful, "refund order A7, amount 700").text == f"{MARK} error: at most 500"
    assert answered(counter, "count shelf B").text == "nothing on B"
    assert answered(reader, "title: Flood").output == {"title": "Flood", "urgent": False}
    assert [page["pay"].asks_first({"amount": amount}) for amount in (50, 51)] == [False, True]
    assert [one.find("github__merge") is not None for one in page["helper"].toolsets] == [True, False, False]


def test_given_the_page_of_turns_then_its_agents_do_what_it_says() -> None:
    page = names_of("turns.md")
    world = World(page["greeter"], page["archive"])
    world.ask("greeter", "desk", "put", Turn("greet", (Late("guest"),)))
    world.ask("greeter", "desk", "put", Turn("tour", kwargs={"names": ["Bob", "Cid"]}))
    values: list[Any] = []
    for one in world.query("greeter", "desk", "status", type=Queue).ended:
        values += [msgspec.json.decode(value) for _, value in values_of(world.log, one.id)]
    assert values == ["Hello, Zoe!", "Hello, Bob!", "Hello, Cid!", "Hello, everybody!"]
    (filed,) = world.query("archive", "2026", "status", type=Queue).ended
    assert filed.turn == Turn("file", kwargs={"names": ["Bob", "Cid"]})
    with pytest.raises(Rejected):
        world.ask("greeter", "desk", "put", Turn("file"))
