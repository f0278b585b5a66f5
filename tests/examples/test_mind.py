"""The pages on memory and sessions: their code runs, and comes to what they say."""

from __future__ import annotations

import re
from typing import Any

from tests.support.system import ROOT

SNIPPETS = {
    name: code
    for page in ("memory", "sessions")
    for name, code in re.findall(r"```python\n# (\w+)\n(.*?)```", (ROOT / "docs" / f"{page}.md").read_text(), re.DOTALL)
}


def ran(name: str) -> dict[str, Any]:
    """The names of a snippet that has run."""
    names: dict[str, Any] = {"__name__": "snippet"}
    exec(compile(SNIPPETS[name], name, "exec"), names)
    return names


def test_given_the_page_on_memory_then_an_agent_learns_and_filters_hold() -> None:
    assert [item["text"] for item in ran("memory")["found"]["items"]] == ["I live in Porto"]
    assert [item.text for item in ran("filters")["found"].items] == ["prefers the night train"]


def test_given_the_page_on_sessions_then_what_was_sent_is_read_and_what_is_pruned_is_counted() -> None:
    first = ran("session")
    assert [line["message"]["role"] for line in first["history"]] == ["user", "assistant"]
    assert [message["content"] for message in first["sent"]["messages"]] == ["Be kind.", "Hello"]
    second = ran("pruning")
    assert (second["forgotten"], second["copied"]) == (16, 7)
