"""Tests of one workflow without servers: given what came of its steps so far, when this happens, then it asks for that.

    story = checkout.given(Order("book"), steps={reserve: None, charge: Payment("p1")})
    story.then_asks("signal packed")
    story.when_signal("packed").then_asks(shipping).when_done(shipping, "r1").then_result("r1")
    story.when_time(3 * 86_400).then_failed("TimeoutError")

No step runs: what it comes to is said. Each happening replays the run's code from its beginning with what is recorded
so far, so code that does otherwise in a replay fails here. A story never changes: several ways may be told from one.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from math import inf
from typing import Any

import msgspec

from runtime.arguments import encode_json, json_decoder
from runtime.errors import Rejected
from runtime.failure import failure_of, text_of
from runtime.flow.paced import ASKED
from runtime.flow.state import PUBLISHED, RunState
from runtime.kind import Execution, Kind
from runtime.mail import ANSWERED, SIGNAL, UPDATE, Taken
from runtime.recorder import CANCELLED, Entry
from runtime.replaying.rehearsal import Asked, Came, error_text, rehearse
from runtime.scenario import START_S, body_of
from runtime.stubs import Steps, step_name, stubs_of
from runtime.turn import Turn
from runtime.world_flow import run_to_end
from schemas.address import Address
from schemas.wire import Failure

RUN = "run"
RUN_ID = "story"
MAX_HAPPENINGS = 10_000

@dataclasses.dataclass(frozen=True, kw_only=True)
class Said:
    """A signal or update that nobody has taken yet."""

    what: str
    name: str
    value: bytes
    seq: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Story:
    """One run of a workflow in a test. Made by `workflow.given(...)`.

    Attributes:
        now: the time (Unix seconds).
        steps: what steps come to, by name; see runtime.stubs.
        journal: what has happened so far.
    """

    kind: Kind
    turn: Callable[[], Turn]
    args: bytes
    now: float
    steps: Mapping[str, Callable[..., Any]]
    journal: tuple[Entry, ...] = ()
    said: tuple[Said, ...] = ()
    answers: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    messages: int = 0
    came: Came = dataclasses.field(default_factory=Came)

    @classmethod
    def given(
        cls,
        kind: Kind,
        args: Any = None,
        *,
        steps: Steps | None = None,
        key: str = RUN_ID,
        now: float = START_S,
        principal: str | None = None,
        roles: tuple[str, ...] = (),
        headers: Mapping[str, str] | None = None,
    ) -> Story:
        """A run with these arguments (as a call has them), up to where it waits for what `steps` does not say."""
        def turn() -> Turn:
            address = Address("default", kind.name, key)
            return Turn(address, RUN_ID, 1, now, principal=principal, roles=roles, headers=headers, method=RUN)

        return cls(kind=kind, turn=turn, args=body_of(args), now=now, steps=stubs_of(steps))._settled()

    # -- when -----------------------------------------------------------------------------------------------------

    def when_done(self, what: str | Callable[..., Any] | Kind, result: Any = None) -> Story:
        """A step (or a question: `kind.method`, or the kind of a task or a child) has this result."""
        return self._answered(what, result=msgspec.Raw(encode_json(result)))

    def when_failed(self, what: str | Callable[..., Any] | Kind, error: str = "it failed") -> Story:
        """A step has failed for good (StepFailed), or a question has (CallFailed, `handler_failed`)."""
        return self._answered(what, failed=Failure("handler_failed", error))

    def when_rejected(self, what: str | Callable[..., Any] | Kind, reason: str = "no", details: Any = None) -> Story:
        """A step, or the actor that was asked, refuses."""
        return self._answered(what, rejected=Failure("rejected", reason, details=details))

    def when_signal(self, name: str, value: Any = None) -> Story:
        """A signal comes; it is kept until somebody waits for it."""
        return self._say(SIGNAL, name, value)

    def when_update(self, name: str, value: Any = None) -> Story:
        """An update comes; see then_answered."""
        return self._say(UPDATE, name, value)

    def when_time(self, seconds: float) -> Story:
        """So many seconds pass; what is due meanwhile comes, each at its time."""
        until, story = self.now + seconds, self
        for _ in range(MAX_HAPPENINGS):
            asked = min(story.came.asking, key=_due, default=None)
            if asked is None or _due(asked) > until:
                return dataclasses.replace(story, now=until)
            story = dataclasses.replace(story, now=max(_due(asked), story.now))
            late = msgspec.Raw(encode_json(Taken())) if asked.name.startswith(("$signal ", "$update ")) else None
            story = story._with(asked, result=late or msgspec.Raw(b"null"))._settled()
        raise AssertionError(f"{MAX_HAPPENINGS} times came within {seconds:g} s: is it a loop without an end?")

    def when_cancelled(self, reason: str = "") -> Story:
        """The run is told to end."""
        entry = Entry(RUN_ID, CANCELLED, 0, 1, result=msgspec.Raw(encode_json(reason)), at=self._at)
        return dataclasses.replace(self, journal=(*self.journal, entry))._settled()

    # -- then -----------------------------------------------------------------------------------------------------

    @property
    def asks(self) -> tuple[str, ...]:
        """What the run waits for: steps and questions by name, `signal packed`, `update address`, `sleep`."""
        return tuple(_shown(asked.name) for asked in self.came.asking)

    def arguments_of(self, what: str | Callable[..., Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of a step that the run waits for."""
        args, kwargs = self._find(what).given
        return tuple(args), dict(kwargs)

    def then_asks(self, *names: str | Callable[..., Any]) -> Story:
        """Asserts what the run waits for, in any order."""
        expected = sorted(_name_of(name) for name in names)
        if not self.came.reached or sorted(self.asks) != expected:
            raise AssertionError(f"the run was to ask for {expected}, and {self._tale()}")
        return self

    def then_result(self, value: Any) -> Story:
        """Asserts that the run has completed with this result."""
        if self.came.result is None:
            raise AssertionError(f"the run was to complete, and {self._tale()}")
        found = msgspec.json.decode(self.came.result)
        if found != msgspec.json.decode(encode_json(value)):
            raise AssertionError(f"the run was to complete with {value!r}, and did with {found!r}")
        return self

    def result(self, type: Any = Any) -> Any:
        """The result of a run that has completed."""
        if self.came.result is None:
            raise AssertionError(f"the run has no result: {self._tale()}")
        return json_decoder(type).decode(self.came.result)

    def then_rejected(self, match: str = "") -> Story:
        """Asserts that the run has ended by a refusal, with a reason in which the pattern is found."""
        return self._then_failure("rejected", match)

    def then_cancelled(self, match: str = "") -> Story:
        """Asserts that the run has ended by its cancellation."""
        return self._then_failure("cancelled", match)

    def then_failed(self, match: str = "") -> Story:
        """Asserts that the run has failed: by a step's failure, or by an error of its code, which parks it."""
        if self.came.error is not None:
            if not re.search(match, error_text(self.came.error)):
                raise AssertionError(f"the run failed for another reason: {error_text(self.came.error)}")
            return self
        return self._then_failure("handler_failed", match)

    def then_continues(self, args: Any) -> Story:
        """Asserts that the run continues as new, with these arguments."""
        found = None if self.came.continued is None else msgspec.json.decode(self.came.continued)
        if self.came.continued is None or found != msgspec.json.decode(encode_json(args)):
            raise AssertionError(f"the run was to continue as new with {args!r}, and {self._tale()}")
        return self

    def then_published(self, **values: Any) -> Story:
        """Asserts what queries see under these names."""
        known = {
            entry.step.removeprefix(PUBLISHED): msgspec.json.decode(entry.result)
            for entry in self.journal
            if entry.step.startswith(PUBLISHED)
        }
        for name, value in values.items():
            if name not in known or known[name] != msgspec.json.decode(encode_json(value)):
                raise AssertionError(f"{name!r} was to be published as {value!r}; published is {known!r}")
        return self

    def then_answered(self, name: str, value: Any) -> Story:
        """Asserts that the latest update of that name was answered so; a refusal is `Rejected(...)`."""
        found, known = self.answers.get(name), dict(self.answers)
        refused = isinstance(value, Rejected)
        same = str(found) == str(value) if refused else found == msgspec.json.decode(encode_json(value))
        if name not in known or not same:
            raise AssertionError(f"update {name!r} was to be answered with {value!r}; answered was {known!r}")
        return self

    def _then_failure(self, code: str, match: str) -> Story:
        failure = self.came.failure
        if failure is None or failure.code != code or not re.search(match, failure.message):
            raise AssertionError(f"the run was to end as {code} ({match!r}), and {self._tale()}")
        return self

    def _tale(self) -> str:
        came = self.came
        if came.error is not None:
            return f"its code failed: {error_text(came.error)}"
        if came.failure is not None:
            return f"it ended as {came.failure.code}: {came.failure.message}"
        if came.continued is not None:
            return f"it continued as new with {came.continued.decode()}"
        if came.result is not None:
            return f"it completed with {came.result.decode()}"
        return f"it waits for {list(self.asks)}"

    # -- what happens ---------------------------------------------------------------------------------------------

    @property
    def _at(self) -> int:
        return int(self.now * 1000)

    def _find(self, what: str | Callable[..., Any] | Kind) -> Asked:
        name = _name_of(what)
        found = next((asked for asked in self.came.asking if _shown(asked.name) == name), None)
        if found is None:
            raise AssertionError(f"nobody asks for {name!r}: {self._tale()}")
        return found

    def _answered(self, what: str | Callable[..., Any] | Kind, **outcome: Any) -> Story:
        return self._with(self._find(what), **outcome)._settled()

    def _say(self, what: str, name: str, value: Any) -> Story:
        message = Said(what=what, name=name, value=encode_json(value), seq=self.messages + 1)
        return dataclasses.replace(self, said=(*self.said, message), messages=message.seq)._settled()

    def _with(self, asked: Asked, **outcome: Any) -> Story:
        """With what a request came to."""
        before = sum(entry.step == asked.name for entry in self.journal)
        entry = Entry(
            RUN_ID, asked.name, before, 1, number=asked.number, digest=asked.digest, at=self._at, **outcome
        )
        return dataclasses.replace(self, journal=(*self.journal, entry))

    def _settled(self) -> Story:
        """After all that follows by itself: from stubs, from what was said, and from answers to updates."""
        story = self._replayed()
        for _ in range(MAX_HAPPENINGS):
            after = next((then for asked in story.came.asking if (then := story._follows(asked)) is not None), None)
            if after is None:
                return story
            story = after._replayed()
        raise AssertionError(f"{MAX_HAPPENINGS} steps followed: is it a loop without an end?")

    def _replayed(self) -> Story:
        method = self.kind.methods[RUN]
        assert isinstance(method, Execution)
        turn = self.turn()
        state = RunState(RUN_ID, int(turn.now * 1000), status="running")
        came = run_to_end(lambda: rehearse(method, state, turn.address, self.args, self.journal, turn))
        for entry in came.noted:
            entry.at = self._at
        return dataclasses.replace(self, came=came, journal=(*self.journal, *came.noted))

    def _follows(self, asked: Asked) -> Story | None:
        if asked.says is not None:
            refusal = asked.says.rejected
            answer = msgspec.json.decode(asked.says.result) if refusal is None else Rejected(refusal.message)
            name = asked.says.step.removeprefix(ANSWERED)
            told = dataclasses.replace(self, answers={**self.answers, name: answer})
            return told._with(asked, result=asked.says.result, rejected=refusal)
        if asked.name.startswith(("$signal ", "$update ")):
            return self._taken(asked)
        if asked.name in self.steps:
            return self._stubbed(asked, self.steps[asked.name])
        return None

    def _taken(self, asked: Asked) -> Story | None:
        what, _, name = asked.name.removeprefix("$").partition(" ")
        message = next((one for one in self.said if (one.what, one.name) == (what, name)), None)
        if message is None:
            return None
        # The id of an update names its answer, see then_answered.
        taken = encode_json(Taken(message.seq, name, msgspec.Raw(message.value)))
        rest = tuple(one for one in self.said if one is not message)
        return dataclasses.replace(self._with(asked, result=msgspec.Raw(taken)), said=rest)

    def _stubbed(self, asked: Asked, stub: Callable[..., Any]) -> Story:
        args, kwargs = asked.given
        try:
            return self._with(asked, result=msgspec.Raw(encode_json(stub(*args, **kwargs))))
        except Rejected as error:
            return self._with(asked, rejected=failure_of(error, self.kind.name))
        except Exception as error:  # noqa: BLE001  # what a stub raises is what the step is to come to
            text = f"step {asked.name!r} failed, on attempt 1 the last time: {text_of(error)}"
            return self._with(asked, failed=Failure("handler_failed", text))


def _shown(name: str) -> str:
    return name.removeprefix(ASKED).removeprefix("$")


def _name_of(what: str | Callable[..., Any] | Kind) -> str:
    if isinstance(what, Kind):
        return f"{what.name}.{RUN}"
    return step_name(what)


def _due(asked: Asked) -> float:
    """Until when a request waits (Unix seconds); inf for no time."""
    timed = asked.name == "$sleep" or asked.name.startswith(("$signal ", "$update "))
    return asked.now + asked.given if timed and asked.given is not None else inf
