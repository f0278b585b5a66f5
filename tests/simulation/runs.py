"""What must be true of executions that were told something: judged by their journals in the log."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import msgspec

from schemas.address import actor_id
from tests.simulation.errands import outside, place_of
from tests.simulation.program import CLERK, COUNTED_FROM

if TYPE_CHECKING:
    from tests.simulation.history import History


def check_runs(history: History) -> list[str]:
    """What is wrong, in words."""
    problems: list[str] = []
    store = history.store
    for key in CLERK:
        actor = actor_id("default", "clerk", key)
        said: dict[str, list[dict[str, Any]]] = defaultdict(list)
        undone: Counter[str] = Counter()
        times: Counter[str] = Counter()
        for row in store.events.get(actor, ()):
            if row.type in ("troupe.signal", "troupe.update", "troupe.cancel"):
                message = msgspec.json.decode(row.payload)
                said[row.command_id].append(message | {"what": row.type.removeprefix("troupe.")})
                times[message["id"]] += 1
            elif row.type == "troupe.step" and msgspec.json.decode(row.payload)["step"] == "undo":
                undone[row.command_id] += 1
        problems += [f"{id} was told {key} {count} times" for id, count in times.items() if count > 1]
        for told in history.told:
            known = times[told.id] == 1 or any((actor, told.id) in past.inbox for past in store.past)
            if told.key == key and not known:
                problems.append(f"{told.what} {told.id} was acknowledged, and {key} was told {times[told.id]} times")
        for done in history.done:
            if (done.op.kind, done.op.key) == ("clerk", key) and (answer := store.inbox.get((actor, done.id))):
                problems += _check(history, done.op, answer, said[done.id], undone[done.id])
    return problems


def _check(history: History, op: Any, answer: Any, said: list[dict[str, Any]], undone: int) -> list[str]:
    """One run, with what it was told in the order of the log."""
    cancelled = any(message["what"] == "cancel" for message in said)
    if not cancelled and not history.store.past and outside.did(place_of(op.id, "undo")):
        return [f"run {op.id} was undone, and nobody had cancelled it; told: {said}"]
    if answer.failed:
        code = msgspec.json.decode(answer.result)["code"]
        if code == "cancelled" and (not cancelled or undone > 1):
            return [f"run {op.id} was cancelled, and undone {undone} times; told: {said}"]
        return []
    words = [message.get("value") for message in said if message["what"] == "signal"][: op.args["words"]]
    problems = []
    if msgspec.json.decode(answer.result) != words:
        problems.append(f"run {op.id} took {answer.result}, and was told {words}")
    if not any(message["what"] == "update" for message in said) or undone:
        problems.append(f"run {op.id} came to an end without its update, or was undone ({undone}): {said}")
    for told in history.told:
        if told.run == op.id and told.what == "update" and told.answer != COUNTED_FROM + len(words):
            problems.append(f"update {told.id} was answered with {told.answer}, and there are {len(words)} words")
    return problems
