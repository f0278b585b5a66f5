"""A run as AG-UI events: its agents' answers, the calls of tools in them, and the children that work for these."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from gateway.answering import Answering, Event
from schemas.shown import MODEL, Delta, Note, Said, Thought
from schemas.wire import Fact, Failure


class Work(msgspec.Struct):
    """The run that answers message `number` of a session."""

    id: str
    agent: str = ""
    number: int = 0


class _Ended(msgspec.Struct):
    failure: Failure | None = None


class _Step(msgspec.Struct):
    step: str
    occurrence: int = 0
    result: msgspec.Raw = msgspec.Raw(b"null")
    failed: Failure | None = None
    rejected: Failure | None = None


class Answer(msgspec.Struct):
    """What a run results in: its last words, and its messages."""

    text: str = ""
    messages: list[Said] = []
    output: Any = None


class Speaker:
    """A run that shows something: the one that answers, or a child of it. `marks`: of a subagent's events."""

    def __init__(self, command: str, name: str, marks: Event) -> None:
        self.command = command
        self.name = name
        self.marks = marks
        self.ended = False
        self.answers: dict[int, Answering] = {}


class Run:
    """A run that goes on, and what is shown of it."""

    def __init__(self, work: Work) -> None:
        self.id = work.id
        self.number = work.number
        self._speakers: dict[str, Speaker] = {work.id: Speaker(work.id, work.agent, {})}
        self._keys: dict[str, str] = {}
        self._results: dict[str, Event] = {}

    def progress(self, fact: Fact) -> Iterator[Event]:
        """What a run shows."""
        speaker = self._speakers.get(fact.command)
        values = read(fact.data, list[msgspec.Raw]) or []
        if speaker is None or speaker.ended:
            return
        if fact.name == MODEL and (deltas := read(fact.data, list[Delta])) is not None:
            yield from self._opened(speaker, fact.occurrence)
            answer = self._answer(speaker, fact.occurrence)
            events, void = answer.take(fact.attempt, fact.first, deltas)
            yield from events
            if void:
                yield self._snapshot()
        elif fact.name == "":
            for value in values:
                note = read(value, Note)
                if note is not None:
                    yield from self._note(speaker, note)
                else:
                    yield self._shown(fact, value, speaker)
        else:
            for value in values:
                yield self._shown(fact, value, speaker)

    def step(self, fact: Fact) -> Iterator[Event]:
        """A step has its result: an answer is settled."""
        speaker, step = self._speakers.get(fact.command), read(fact.data, _Step)
        if speaker is None or speaker.ended or step is None or step.step.startswith("$"):
            return
        name = _step_name(step.step, step.occurrence)
        thought = read(step.result, Thought) if step.step == MODEL else None
        if step.step != MODEL:
            yield {"type": "STEP_STARTED", "stepName": name, **speaker.marks}
            yield {"type": "STEP_FINISHED", "stepName": name, **speaker.marks}
            return
        yield from self._opened(speaker, step.occurrence)
        answer = self._answer(speaker, step.occurrence)
        if not answer.settled:
            if thought is None:
                void = not answer.is_empty
                yield from answer.supersede("nobody has answered")
                answer.settled = True
            else:
                events, void = answer.settle(thought.message)
                yield from events
            if void:
                yield self._snapshot()
            yield {"type": "STEP_FINISHED", "stepName": name, **speaker.marks}

    def started(self, fact: Fact, *, speaks: bool) -> Iterator[Event]:
        """A run of it begins; whether it `speaks` in the conversation, or works for a tool."""
        self._keys[f"{fact.kind}/{fact.key}"] = fact.command
        if fact.command in self._speakers:
            return
        if speaks:
            self._speakers[fact.command] = Speaker(fact.command, fact.kind, {})
            return
        self._speakers[fact.command] = Speaker(fact.command, fact.kind, {"subagentRunId": fact.command})
        event: Event = {"type": "SUBAGENT_STARTED", "subagentRunId": fact.command, "name": fact.kind}
        key, _, place = fact.key.rpartition("/")
        parent = next((self._speakers[one] for at, one in self._keys.items() if at.endswith(f"/{key}")), None)
        if parent is not None and (call := self._called(parent, place)) is not None:
            event["parentToolCallId"] = call
        if parent is not None and parent.marks:
            event["parentSubagentRunId"] = parent.command
        yield event

    def child_ended(self, fact: Fact) -> Iterator[Event]:
        """A subagent has ended."""
        speaker = self._speakers.get(fact.command)
        if speaker is None or not speaker.marks or speaker.ended:
            return
        speaker.ended = True
        for occurrence, answer in speaker.answers.items():
            if not answer.settled:
                yield from answer.supersede("the subagent has ended")
                yield self._step_finished(speaker, occurrence)
        ended = read(fact.data, _Ended)
        failure = None if ended is None else ended.failure
        if failure is not None:
            yield {"type": "SUBAGENT_ERROR", "message": failure.message, "code": failure.code, **speaker.marks}
        else:
            yield {"type": "SUBAGENT_FINISHED", **speaker.marks}

    def finish(self, text: str, messages: list[Said]) -> Iterator[Event]:
        """It has ended: with what was not shown of its messages, and of the last words in them."""
        yield from self._end("the run has ended")
        speakers = [speaker for speaker in self._speakers.values() if not speaker.marks]
        spoken = [one for speaker in speakers for _, one in sorted(speaker.answers.items())]
        yield from self._missing(spoken, messages)
        if text and not (spoken and spoken[-1].text == text):
            last = Answering(f"{self.id}.answer", "", {})
            yield from last.settle(Said("assistant", text))[0]

    def fail(self) -> Iterator[Event]:
        """It has failed."""
        yield from self._end("the run has failed")

    def _end(self, why: str) -> Iterator[Event]:
        """Ends what is open: it was not settled, and is void."""
        void = False
        for speaker in self._speakers.values():
            for occurrence, answer in speaker.answers.items():
                if not answer.settled:
                    void |= not answer.is_empty
                    yield from answer.supersede(why)
                    answer.settled = True
                    yield self._step_finished(speaker, occurrence)
            if speaker.marks and not speaker.ended:
                speaker.ended = True
                yield {"type": "SUBAGENT_FINISHED", **speaker.marks}
        if void:
            yield self._snapshot()

    def _missing(self, spoken: list[Answering], messages: list[Said]) -> Iterator[Event]:
        """Results of tools that were not shown: the whole answer has them, behind the calls that they are of."""
        answers = iter(spoken)
        calls: Iterator[str] = iter(())
        for message in messages:
            if message.role == "assistant":
                answer = next(answers, None)
                calls = iter([call.id for call in answer.calls] if answer is not None else ())
            elif message.role == "tool" and (call := next(calls, None)) is not None:
                yield from self._result(call, message.content, {})

    def _note(self, speaker: Speaker, note: Note) -> Iterator[Event]:
        call = self._called(speaker, note.call)
        if call is not None:
            yield from self._result(call, note.text, speaker.marks)
        if note.agent:
            yield {"type": "CUSTOM", "name": "handed_off", "value": {"to": note.agent}, **speaker.marks}

    def _result(self, call: str, text: str, marks: Event) -> Iterator[Event]:
        if call in self._results:
            return
        id = f"{call}.result"
        self._results[call] = {"id": id, "role": "tool", "toolCallId": call, "content": text, **marks}
        yield {
            "type": "TOOL_CALL_RESULT", "messageId": id, "toolCallId": call, "content": text, "role": "tool", **marks
        }  # fmt: skip

    def _called(self, speaker: Speaker, place: str) -> str | None:
        """The id of a call by its place: `<answer>.<call>`."""
        number, _, at = place.partition(".")
        if not (number.isdigit() and at.isdigit()):
            return None
        answer = speaker.answers.get(int(number) - 1)
        calls = answer.calls if answer is not None else []
        return calls[int(at) - 1].id if 0 < int(at) <= len(calls) else None

    def _answer(self, speaker: Speaker, occurrence: int) -> Answering:
        return speaker.answers[occurrence]

    def _opened(self, speaker: Speaker, occurrence: int) -> Iterator[Event]:
        if occurrence not in speaker.answers:
            id = f"{speaker.command}.{occurrence + 1}"
            speaker.answers[occurrence] = Answering(id, speaker.name, speaker.marks)
            yield {"type": "STEP_STARTED", "stepName": _step_name(MODEL, occurrence), **speaker.marks}

    def _step_finished(self, speaker: Speaker, occurrence: int) -> Event:
        return {"type": "STEP_FINISHED", "stepName": _step_name(MODEL, occurrence), **speaker.marks}

    def _shown(self, fact: Fact, value: msgspec.Raw, speaker: Speaker) -> Event:
        what: Event = {"step": fact.name, "attempt": fact.attempt, "value": msgspec.json.decode(value)}
        return {"type": "CUSTOM", "name": "progress", "value": what, **speaker.marks}

    def _snapshot(self) -> Event:
        """What is said in this run as far as it holds."""
        messages: list[Event] = []
        for speaker in self._speakers.values():
            for _, answer in sorted(speaker.answers.items()):
                messages += answer.messages()
                messages += [self._results[call.id] for call in answer.calls if call.id in self._results]
        return {"type": "MESSAGES_SNAPSHOT", "messages": messages}


def _step_name(step: str, occurrence: int) -> str:
    return f"{step} {occurrence + 1}"


def read(data: msgspec.Raw, type: Any) -> Any:
    """Data as a type; None when it is nothing of the kind."""
    try:
        return msgspec.json.decode(data, type=type)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def object_of(data: msgspec.Raw) -> Event:
    """An object; empty for anything else."""
    found = read(data, dict[str, Any])
    return found if found is not None else {}
