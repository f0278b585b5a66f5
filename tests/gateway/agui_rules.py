"""The ordering rules of AG-UI, as its official client checks them; and what a stream says in the end."""

from __future__ import annotations

from typing import Any

PAIRS = {
    "TEXT_MESSAGE": "messageId",
    "TOOL_CALL": "toolCallId",
    "REASONING_MESSAGE": "messageId",
}


def check_order(events: list[dict[str, Any]]) -> None:
    """Raises AssertionError where an event must not stand."""
    running = False
    open_: set[tuple[str, str]] = set()
    for event in events:
        type_ = event["type"]
        mark = event.get("subagentRunId", "")
        if type_ == "RUN_STARTED":
            assert not running, "a run within a run"
            running, open_ = True, set()
            continue
        assert running, f"{type_} outside of a run"
        if type_ == "RUN_ERROR":
            running = False
        elif type_ == "RUN_FINISHED":
            assert not open_, f"the run has ended with {open_}"
            running = False
        _check(event, type_, mark, open_)


def _check(event: dict[str, Any], type_: str, mark: str, open_: set[tuple[str, str]]) -> None:
    what, _, moment = type_.rpartition("_")
    if what in PAIRS and moment in ("START", "CONTENT", "ARGS", "END"):
        place = (what, event[PAIRS[what]])
    elif what in ("STEP", "SUBAGENT") and moment in ("STARTED", "FINISHED", "ERROR"):
        place = (what, mark if what == "SUBAGENT" else f"{mark}/{event['stepName']}")
    elif what == "REASONING" and moment in ("START", "END"):
        place = (what, event["messageId"])
    else:
        return
    if moment in ("START", "STARTED"):
        assert place not in open_, f"{place} is begun twice"
        open_.add(place)
    else:
        assert place in open_, f"{type_} of {place}, which is not open"
        if moment not in ("CONTENT", "ARGS"):
            open_.remove(place)


def text_of(events: list[dict[str, Any]]) -> list[str]:
    """What assistants have said, without what was superseded, in order."""
    texts: dict[str, str] = {}
    for event in events:
        if event["type"] == "TEXT_MESSAGE_START" and event.get("role") == "assistant":
            texts.setdefault(event["messageId"], "")
        elif event["type"] == "TEXT_MESSAGE_CONTENT" and event["messageId"] in texts:
            texts[event["messageId"]] += event["delta"]
        elif event["type"] == "CUSTOM" and event["name"] == "superseded":
            for id in event["value"]["messageIds"]:
                texts.pop(id, None)
    return list(texts.values())
