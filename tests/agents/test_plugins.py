"""Plugins of installed distributions: a folder on the path with the metadata that installing one leaves."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.agents import Agent
from actors.agents.plugins import VARIABLE, _plugins, plugin, plugins
from actors.models.calling import Caller
from actors.models.current import using
from actors.models.fleet import Fleet
from actors.sessions.session import Answer, Task, session
from runtime import Misconfigured
from runtime.testing import World
from tests.agents.scripted import Scripted

CODE = """
from actors.agents import hook, tool
from actors.agents.plugins import Plugin

seen = []

@hook("request.before", "tool.before", prefix="saw")
async def noted(event, prefix):
    seen.append(f"{prefix} {event.point} of {event.agent}")

@tool
def stamp() -> str:
    "Stamps."
    return "stamped"

unlike = Plugin("audit", "1.2", hooks=(lambda event: None,))
plugin = Plugin("audit", "1.2", "Writes things down.", hooks=(noted,), tools=(stamp,), agents=("clerk",))
wrong = "no plugin"
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "troupe_audit_for_tests.py").write_text(CODE)
    info = tmp_path / "troupe_audit_for_tests-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: troupe-audit-for-tests\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text("[troupe.plugins]\naudit = troupe_audit_for_tests:plugin\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    _plugins.cache_clear()
    yield info
    sys.modules.pop("troupe_audit_for_tests", None)
    _plugins.cache_clear()


def answered(name: str) -> Answer:
    model = Scripted()
    model.calls("stamp")
    model.says("done")
    agent = Agent(name, tools=plugin("audit").tools)
    with using(Caller(Fleet(), lambda _: model)):
        world = World(session, agent, always_replay=True)
        return world.ask(agent, "r1", "run", Task("", 0, "Go"), type=Answer)  # type: ignore[no-any-return]  # read as `type`


def test_given_an_installed_plugin_when_agents_work_then_its_hooks_see_those_that_it_is_for(place: Path) -> None:
    assert answered("clerk").messages[1].content == "stamped"
    answered("another")
    from importlib import import_module

    seen = import_module("troupe_audit_for_tests").seen
    assert seen == ["saw request.before of clerk", "saw tool.before of clerk"]
    assert [(one.name, one.version) for one in plugins().values()] == [("audit", "1.2")]


def test_given_a_list_of_wanted_plugins_when_one_is_not_in_it_then_it_is_not_loaded(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "")
    assert plugins() == {}
    with pytest.raises(Misconfigured, match="there is no plugin 'audit'"):
        plugin("audit")
    monkeypatch.setenv(VARIABLE, "audit, another")
    with pytest.raises(Misconfigured, match="RUNTIME_PLUGINS names another, which no installed distribution brings"):
        plugins()


@pytest.mark.parametrize(
    ("at", "said"),
    [("wrong", "is a str, and no Plugin"), ("unlike", "its hooks are"), ("nowhere", "cannot be loaded")],
)
def test_given_an_entry_point_that_names_no_plugin_when_it_is_loaded_then_the_error_names_it(
    place: Path, at: str, said: str
) -> None:
    (place / "entry_points.txt").write_text(f"[troupe.plugins]\naudit = troupe_audit_for_tests:{at}\n")
    with pytest.raises(Misconfigured, match=f"plugin 'audit'.*{said}"):
        plugins()
