"""The log against the answers: each command that was acknowledged counts once, and nothing that nobody asked for."""

from __future__ import annotations

from collections import Counter, defaultdict

import msgspec

from tests.chaos import check_agents, check_flows
from tests.chaos.agent_program import KEPT
from tests.chaos.evidence import Evidence, Verdict
from tests.chaos.lives import Lives
from tests.chaos.log import Event
from tests.chaos.record import DELETE, TOO_LATE, Entry
from tests.chaos.rewritten import Rewritten, caused_by

STEP, ANSWER, SIGNAL, CANCEL = "troupe.step", "troupe.answer", "troupe.signal", "troupe.cancel"
TOLD = {"run": ANSWER, "wait": SIGNAL, "leave": CANCEL}
"""What each execution is told, once. A signal or a cancel comes when its sender likes: before or after any step."""

OWN = {"run": (STEP, ANSWER, STEP, "ValueSet"), "wait": (STEP, STEP, STEP, STEP, "ValueSet")}
"""The events of each execution that comes to a result; its waiting for time and for a signal are steps."""

REFUSED = ("rejected", "cancelled", "terminated", "timed_out")
"""Outcomes that are kept as failures."""

LEFT = (0, 2, 3)
"""How many one has taken that was cancelled: none before it began; else that it was told, and its undoing."""


def check(evidence: Evidence, verdict: Verdict) -> None:
    """Looks at every entry of the record, and then at every event for its cause."""
    record, log = evidence.record, evidence.log
    verdict.reordered += record.misordered
    own: dict[tuple[str, str], list[Event]] = defaultdict(list)
    for actor, events in log.events.items():
        for event in events:
            own[actor, event.command_id].append(event)
    caused, rewritten, astray = caused_by(evidence), Rewritten(evidence), check_flows.strays(evidence)
    explained: Counter[tuple[str, int]] = Counter()
    lives = Lives(evidence)
    for entry in record.entries:
        mine = lives.own(entry) if entry.method == DELETE else own.get((entry.actor, entry.id), [])
        followed = _followed(entry, caused.get((entry.actor.split("/")[0], entry.id), []), own)
        explained.update((event.actor, event.seq) for event in (*mine, *followed))
        if entry.method == "join":
            check_flows.check_joined(entry, mine, verdict)
        if entry.method == TOO_LATE:
            check_flows.check_refused(entry, rewritten, verdict)
        elif entry.outcome in ("stuck", "failed"):
            verdict.stuck.append((entry.actor, f"command {entry.id} {entry.method}: {entry.outcome}: {entry.error}"))
        else:
            verdict.acknowledged += entry.outcome != "unknown"
            if entry.method == DELETE:
                lives.check_order(entry, verdict)
                continue
            if lives.is_over(entry):
                lives.check_over(entry, mine, verdict)
                continue
            _check_answers(evidence, entry, rewritten, verdict)
            if check_flows.is_flow(entry):
                if entry.method == "run":
                    check_flows.check_run(evidence, entry, rewritten, mine, followed, astray, verdict)
                continue
            if check_agents.is_talk(entry):
                continue
            _check_events(evidence, entry, rewritten, mine, followed, verdict)
    for actor, events in log.events.items():
        for event in events:
            if explained[actor, event.seq] != 1:
                found = f"event {event.seq} of command {event.command_id} has {explained[actor, event.seq]} causes"
                verdict.duplicated.append((actor, found))


def _followed(entry: Entry, caused: list[Event], own: check_flows.Own) -> list[Event]:
    """What followed from a command, of what has it as its cause."""
    if check_agents.is_talk(entry):
        return check_agents.family(entry, caused, own)
    if check_flows.is_flow(entry):  # what a signal or a second start had a run do is the run's own
        return check_flows.family(caused, own) if entry.method == "run" else []
    return caused


def _check_answers(evidence: Evidence, entry: Entry, rewritten: Rewritten, verdict: Verdict) -> None:
    """The answer, what the inbox says, and the answers to the same id."""
    name = f"command {entry.id}"
    kept = evidence.log.inbox.get((entry.actor, entry.id))
    read = KEPT.get(entry.method, msgspec.json.decode)
    given = [(entry.value, entry.seq)]
    if kept is None:
        if entry.outcome != "stored":
            verdict.lost.append((entry.actor, f"{name} was answered and has no inbox entry"))
    elif kept[1] != (rewritten.outcome(entry) in REFUSED):
        verdict.lost.append((entry.actor, f"{name} was answered as {entry.outcome}, and the inbox says {kept[2]}"))
    elif rewritten.answer_may_differ(entry):
        if not kept[1]:
            given.append((read(kept[2]), kept[0]))
    elif entry.outcome == "done" and read(kept[2]) != entry.value:
        verdict.lost.append((entry.actor, f"{name} was answered with {entry.value}, and the inbox says {kept[2]}"))
    if entry.again is not None and entry.outcome == "done" and entry.again not in given:
        found = f"{name} was answered with {(entry.value, entry.seq)}, and asked again with {entry.again}"
        verdict.duplicated.append((entry.actor, found))
    if entry.reused not in (None, "id_reused"):
        found = f"{name} was sent again with other arguments, and the answer was {entry.reused}, not id_reused"
        verdict.duplicated.append((entry.actor, found))


def _check_events(
    evidence: Evidence,
    entry: Entry,
    rewritten: Rewritten,
    mine: list[Event],
    followed: list[Event],
    verdict: Verdict,
) -> None:
    """The events of the command itself, and of what it had others do."""
    done = rewritten.outcome(entry) in ("done", "stored")
    name = f"command {entry.id} ({entry.method})"
    expected = _own(entry) if done else []
    if not mine and entry.outcome == "stored" and evidence.may_be_missing(entry.actor, entry.id):
        verdict.excused += 1
        return
    if entry.method in TOLD:
        expected, mine = _without_told(evidence, entry, rewritten, expected, mine, verdict)
    if entry.outcome == "cancelled" and len(mine) in LEFT:
        expected = [(STEP, 0)] * len(mine)
    _compare(entry.actor, name, expected, mine, verdict)
    answered = entry.outcome == "done" and not rewritten.answer_may_differ(entry)
    if expected and len(mine) == len(expected) and answered and mine[-1].seq != entry.seq:
        found = f"{name} was answered with seq {entry.seq}, and its last event has {mine[-1].seq}"
        verdict.reordered.append((entry.actor, found))
    later = _later(entry) if done else []
    if later and not followed and entry.method == "forward" and evidence.may_be_missing(entry.target):
        verdict.excused += 1
        return
    if followed and rewritten.is_stray(entry):
        later = [("Arrived", entry.amount)]  # a log that is gone had accepted it, and sent this
    _compare(entry.target or entry.actor, f"what follows from {name}", later, followed, verdict)


def _without_told(
    evidence: Evidence,
    entry: Entry,
    rewritten: Rewritten,
    expected: list[tuple[str, int]],
    mine: list[Event],
    verdict: Verdict,
) -> tuple[list[tuple[str, int]], list[Event]]:
    """The rest, once what an execution was told is compared: one of each log that there was at most.

    What a log that is gone had asked for comes from the stream, perhaps before the execution begins again. Else the
    answer to its question has its place between its steps, where it stays.
    """
    what, again = TOLD[entry.method], rewritten.ran_again(entry)
    if what == ANSWER and not again:
        return expected, mine
    told = [event for event in mine if event.type == what]
    if not 1 <= len(told) <= (1 + len(evidence.allowed.restored) if again else 1):
        found = f"command {entry.id} ({entry.method}) was told {len(told)} times by {what}"
        (verdict.duplicated if told else verdict.lost).append((entry.actor, found))
    return [one for one in expected if one[0] != what], [event for event in mine if event.type != what]


def _own(entry: Entry) -> list[tuple[str, int]]:
    """(type, amount) of the events that the command itself makes, without signals and cancels."""
    if entry.method == "forward":
        return [("Left", -entry.amount)]
    if entry.method in OWN:
        return [(type, 0) for type in OWN[entry.method]]
    return [] if entry.method == "add_later" else [("Added", entry.amount)]


def _later(entry: Entry) -> list[tuple[str, int]]:
    """(type, amount) of the events that it makes others have, or the actor itself later."""
    types = {"forward": "Arrived", "add_later": "Rang", "run": "Added"}
    return [(types[entry.method], entry.amount)] if entry.method in types else []


def _compare(
    actor: str, name: str, expected: list[tuple[str, int]], found: list[Event], verdict: Verdict
) -> None:
    counted = [(event.type, event.amount) for event in found]
    if counted == expected and all(event.actor == actor for event in found):
        return
    places = ", ".join(f"{event.actor}:{event.seq}" for event in found)
    text = f"{name} should have counted {expected}, and counted {counted} ({places})"
    (verdict.duplicated if len(found) > len(expected) else verdict.lost).append((actor, text))
