"""Plugins: hooks and tools that other distributions bring along.

    # pyproject.toml of the distribution
    [project.entry-points."troupe.plugins"]
    audit = "troupe_audit:plugin"

    # troupe_audit.py
    plugin = Plugin("audit", version="1.2", description="Writes down each tool call.", hooks=(noted,))

What an entry point names is the plugin's manifest. Hooks of installed plugins are called for every agent of the process
(or for those of `agents`), before the agents' own, in the order of the plugins' names. RUNTIME_PLUGINS names those that
are wanted, separated by commas; all are when it is not set, none when it is empty.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points

from msgspec import Struct

from actors.agents.hooks import Hook, Hooks
from actors.agents.tools import Tool
from runtime.errors import Misconfigured

GROUP = "troupe.plugins"
VARIABLE = "RUNTIME_PLUGINS"


class Plugin(Struct, frozen=True):
    """A plugin's manifest.

    Attributes:
        agents: for whose work its hooks are called; empty for that of all.
        tools: for agents that take them: `Agent(tools=[*plugin("audit").tools])`.
    """

    name: str
    version: str
    description: str = ""
    hooks: tuple[Hook, ...] = ()
    tools: tuple[Tool, ...] = ()
    agents: tuple[str, ...] = ()


def plugins() -> dict[str, Plugin]:
    """The installed plugins that are wanted, by name, in order. Raises Misconfigured, which names the entry point."""
    wanted = os.environ.get(VARIABLE)
    return _plugins(None if wanted is None else frozenset(one.strip() for one in wanted.split(",") if one.strip()))


def plugin(name: str) -> Plugin:
    """One of them. Raises Misconfigured when it is not installed, or not wanted."""
    found = plugins()
    if name not in found:
        raise Misconfigured(f"there is no plugin {name!r}: install it, or name it in {VARIABLE}; known: {_list(found)}")
    return found[name]


def installed(agent: str) -> Hooks:
    """The hooks of all plugins for an agent's work."""
    return _hooks(tuple(plugins().values()), agent)


@lru_cache(maxsize=16)
def _plugins(wanted: frozenset[str] | None) -> dict[str, Plugin]:
    found = {one.name: one for one in entry_points(group=GROUP) if wanted is None or one.name in wanted}
    if wanted is not None and (missing := wanted - found.keys()):
        raise Misconfigured(f"{VARIABLE} names {_list(missing)}, which no installed distribution brings along")
    return {name: _loaded(found[name]) for name in sorted(found)}


def _loaded(point: EntryPoint) -> Plugin:
    try:
        manifest = point.load()
    except Exception as error:
        raise Misconfigured(f"plugin {point.name!r} ({point.value}) cannot be loaded: {error!r}") from error
    if not isinstance(manifest, Plugin):
        raise Misconfigured(f"plugin {point.name!r}: {point.value} is a {type(manifest).__name__}, and no Plugin")
    for field, type_ in (("hooks", Hook), ("tools", Tool), ("agents", str)):
        given = getattr(manifest, field)
        if not isinstance(given, (tuple, list)) or not all(isinstance(one, type_) for one in given):
            said = f"its {field} are {given!s:.200}, and no tuple of {type_.__name__}"
            raise Misconfigured(f"plugin {point.name!r}: {said}")
    return manifest


def _hooks(found: tuple[Plugin, ...], agent: str) -> Hooks:
    return Hooks(one for plugin in found if not plugin.agents or agent in plugin.agents for one in plugin.hooks)


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
