"""What must be true of workflows: judged by their journals in the log, and by what their steps did outside."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from runtime.recorder import Entry
from schemas.address import actor_id, encode_token
from schemas.tokens import SIGNAL_PREFIX
from tests.simulation.errands import NAP_S, Deed, came_of, outside, place_of
from tests.simulation.scheduler import EPOCH

if TYPE_CHECKING:
    from tests.simulation.history import History
    from tests.simulation.program import Op

_entry = msgspec.json.Decoder(Entry).decode
_json = msgspec.json.decode

CLOCKS_S = 0.05
"""By how much pods may differ about the log's time (seconds)."""


class Kept(NamedTuple):
    """An entry, and when it was committed (virtual seconds)."""

    entry: Entry
    at: float


class Journal:
    """What the log holds of one run: its entries, what it was told, its end."""

    def __init__(self, history: History, actor: str, run: str | None = None) -> None:
        store = history.store
        self.kept: list[Kept] = []
        self.words: list[Any] = []
        self.told: Counter[str] = Counter()
        self.said: set[str] = set()
        self.ended_at: float | None = None
        self.began = False
        self.behind: list[str] = []
        """Names of entries behind the end."""
        for row in store.events.get(actor, ()):
            what, at = row.type.removeprefix("troupe."), store.times[actor, row.seq]
            if what == "step" and (run is None or row.command_id == run):
                self.kept.append(Kept(_entry(row.payload), at))
                if self.ended_at is not None:
                    self.behind.append(self.kept[-1].entry.step)
            elif what in ("signal", "cancel", "terminate"):
                message = _json(row.payload)
                self.said.add(what)
                self.told[message.get("id", "")] += 1
                if what == "signal" and not message["name"].startswith(SIGNAL_PREFIX):
                    self.words.append(message["value"])
            elif what == "started":
                self.began = True
            elif what == "ended":
                self.ended_at = at
        self.of = {one.entry.step: one for one in self.kept if not one.entry.step.startswith("$")}


def actors_of(op: Op) -> dict[str, tuple[str, str]]:
    """The actors that an errand has: id → (kind, key as it is written in subjects)."""
    own = encode_token(op.key)
    found = {actor_id("default", "errand", own): ("errand", own)}
    for number, what in enumerate(op.args["script"]):
        if what == "leg":
            token = encode_token(f"{op.key}.{number}")
            found[actor_id("default", "leg", token)] = ("leg", token)
    return found


def check_flows(history: History) -> list[str]:
    """What is wrong, in words."""
    errands = {done.op.key: done for done in history.done if done.op.kind == "errand"}
    if not errands:
        return []
    deeds: dict[str, list[Deed]] = defaultdict(list)
    for deed in outside.deeds:
        deeds[deed.place].append(deed)
    noted = Counter(
        _json(row.payload)["place"] for row in history.store.events.get(actor_id("default", "tally", "tally"), ())
    )
    problems: list[str] = []
    for done in errands.values():
        problems += _Errand(history, done.op, done.id, deeds, noted).problems
    if not history.store.past:  # else what a race came to may be another, and so the number of a question behind it
        problems += [f"{place} was noted {times} times" for place, times in noted.items() if times > 1]
    return problems


class _Errand:
    """The judgement of one run."""

    def __init__(
        self, history: History, op: Op, run: str, deeds: dict[str, list[Deed]], noted: Counter[str]
    ) -> None:
        self.problems: list[str] = []
        self._history, self._op, self._run, self._deeds, self._noted = history, op, run, deeds, noted
        self._actor = actor_id("default", "errand", encode_token(op.key))
        self._journal = Journal(history, self._actor)
        answer = history.store.inbox.get((self._actor, run))
        if answer is None:
            return  # see Verdict._check_done
        self._check_told()
        self._check_journal(self._journal, run)
        code = _json(answer.result)["code"] if answer.failed else ""
        self._check_children(code)
        if answer.failed:
            self._check_failed(code, answer.result)
        else:
            self._check_result(_json(answer.result))

    def _say(self, problem: str) -> None:
        self.problems.append(f"errand {self._run}, {self._op.args['script']}: {problem}")

    # -- its journal ------------------------------------------------------------------------------------------------

    def _check_told(self) -> None:
        for told in self._history.told:
            if told.key == self._op.key:
                times = self._journal.told[told.id if told.what != "terminate" else ""]
                before = any((self._actor, told.id) in past.inbox for past in self._history.store.past)
                if times > 1 or (times == 0 and not before):
                    self._say(f"{told.what} {told.id} was acknowledged, and is in the log {times} times")

    def _check_journal(self, journal: Journal, place: str) -> None:
        """No request has two entries, and what is completed does not run again."""
        numbers: set[int] = set()
        names = Counter(one.entry.step for one in journal.kept if not one.entry.step.startswith("$"))
        for name, times in names.items():
            if times > 1:
                self._say(f"{name} of {place} is completed {times} times")
        for entry, at in journal.kept:
            if entry.step == "$continued":
                numbers.clear()
            elif entry.number in numbers:
                self._say(f"request {entry.number} of {place} has two entries")
            elif entry.number:
                numbers.add(entry.number)
            if late := [deed.at for deed in self._deeds[place_of(place, entry.step)] if deed.at > at]:
                self._say(f"{entry.step} of {place} was completed at {at:.3f}, and ran again at {late[0]:.3f}")
        if journal.behind:
            self._say(f"{journal.behind} of {place} was recorded behind its end")

    # -- its end ----------------------------------------------------------------------------------------------------

    def _check_failed(self, code: str, failure: str) -> None:
        allowed = {
            "cancelled": "cancel" in self._journal.said,
            "terminated": "terminate" in self._journal.said,
            "timed_out": self._op.within_s is not None,
        }
        # Attempts that ended with the lane count as deaths of the process: docs/known-limits.md.
        # In the log that is gone its child may have been told to end, and hears of that again.
        by_the_past = bool(self._history.store.past) and " was cancelled: its parent " in failure
        if not allowed.get(code, "the process died" in failure or by_the_past):
            self._say(f"it failed: {failure}; it was told {sorted(self._journal.said)}")

    def _check_result(self, got: list[str]) -> None:
        words: list[str] = []
        rest, since, sleeps = list(got), 0.0, [one for one in self._journal.kept if one.entry.step == "$sleep"]
        surely = not self._history.store.past  # what came of a log that was replaced was committed in another one
        for number, what in enumerate(self._op.args["script"]):
            name = f"{what}{number}"
            if what == "again":
                continue
            found, rest = rest[: 2 if what == "pair" else 1], rest[2 if what == "pair" else 1 :]
            if what in ("step", "flaky", "pair"):
                names = [f"left {name}", f"right {name}"] if what == "pair" else [name]
                since = self._check_steps(names, found, since if surely else 0.0)
            elif what == "nap" and "race" not in self._op.args["script"]:
                self._check_nap(name, sleeps.pop(0))
            elif what in ("word", "race") and found != [name]:
                words += found
            elif what == "token" and found != [came_of(place_of(self._run, name))]:
                self._say(f"{name} gave {found}, which nobody said")
            elif what == "note" and self._noted[place_of(self._run, name)] == 0:
                self._say(f"{name} was never noted")
        if rest or words != self._journal.words[: len(words)]:
            self._say(f"it got {got}; it was told {self._journal.words}")

    def _check_nap(self, name: str, slept: Kept) -> None:
        """It is counted from when what came before it was done."""
        place = self._journal.kept.index(slept)
        before = self._journal.kept[place - 1].entry.at / 1000 if place else 0.0
        if slept.entry.at / 1000 < before + NAP_S - CLOCKS_S:
            self._say(f"{name} was over at {slept.entry.at / 1000 - EPOCH:.3f}, and began at {before - EPOCH:.3f}")

    def _check_steps(self, names: list[str], found: list[str], since: float) -> float:
        """What steps gave is what they did and what is kept; when the last of them was."""
        ends = since
        for name, result in zip(names, found, strict=True):
            place, kept = place_of(self._run, name), self._journal.of.get(name)
            if kept is None or _json(kept.entry.result) != result:
                self._say(f"it went on with {result} of {name}, and its journal has {kept}")
                continue
            did, _, nth = result.rpartition(" #")
            if did != place or outside.deeds[int(nth) - 1].place != place:
                self._say(f"{name} gave {result}, which nobody did")
            if early := [deed.at for deed in self._deeds[place] if deed.at < since]:
                self._say(f"{name} was begun at {early[0]:.3f}; what comes before was committed at {since:.3f}")
            ends = max(ends, kept.at)
        return ends

    # -- its children -----------------------------------------------------------------------------------------------

    def _check_children(self, code: str) -> None:
        for number, what in enumerate(self._op.args["script"]):
            if what != "leg":
                continue
            child = Journal(self._history, actor_id("default", "leg", encode_token(f"{self._op.key}.{number}")))
            self._check_journal(child, place_of(self._run, f"leg{number}"))
            if not child.began:
                continue
            ended, own = child.ended_at, self._journal.ended_at
            if ended is None:
                self._say(f"leg{number} began and never ended")
            elif self._history.store.past:
                continue  # it may have been asked for in the log that is gone, of which the run knows nothing
            elif code == "cancelled" and own is not None and ended > own and "cancel" not in child.said:
                self._say(f"it was cancelled at {own:.3f}; leg{number} was not, and went on until {ended:.3f}")
