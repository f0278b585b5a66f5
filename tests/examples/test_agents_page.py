"""docs/agents.md: its code works as it says, without a model."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors.models.calling import Caller
from actors.models.current import using
from actors.models.fleet import Fleet
from actors.models.offline import OfflineModel
from actors.router.evaluation import Utterances, evaluate
from actors.sessions.session import session
from actors.sessions.transcript import Line
from runtime.testing import World

PAGE = Path(__file__).parents[2] / "docs" / "agents.md"
_PIECE = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def pieces(language: str) -> list[str]:
    return [text for found, text in _PIECE.findall(PAGE.read_text()) if found == language]


@pytest.fixture
def shop() -> Iterator[dict[str, Any]]:
    names: dict[str, Any] = {"__name__": "shop"}
    with using(Caller(Fleet(), lambda _: OfflineModel())):
        for piece in pieces("python"):
            exec(compile(piece, str(PAGE), "exec"), names)
        yield names


@pytest.mark.parametrize(
    ("sentence", "agent", "text"),
    [
        ("track order 77", "parcels", "order 77 is on its way"),
        ("check invoice number A7 of 9.5", "invoices", "Invoice A7 of 9.50"),
    ],
)
def test_given_the_page_when_its_capabilities_are_served_then_a_sentence_is_answered_by_the_one_that_it_means(
    shop: dict[str, Any], sentence: str, agent: str, text: str
) -> None:
    world = World(shop["parcels"], shop["invoices"], always_replay=True)
    world.ask(session, "s1", "say", {"text": sentence})
    last = world.query(session, "s1", "history", {}, type=list[Line])[-1]
    assert last.message.name == agent, world.events(session, "s1")[-1]
    assert text in last.message.content


def test_given_the_page_then_its_utterances_can_be_evaluated() -> None:
    (text,) = pieces("yaml")
    report = evaluate(msgspec.yaml.decode(text, type=Utterances))
    assert (report.fitting, report.nothing) == (2, 1)
