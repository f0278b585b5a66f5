"""From the entries of a session's stream to AG-UI events (docs/streams.md): pure, and the same for the same entries.

The conversation's facts say when a run begins, the run's own when it ends. What its agents show on the way becomes
messages, reasoning and tool calls; the results of their steps, which are events, settle these: what is missing is
added, what does not fit is superseded. Children that work for a tool are subagents.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from gateway.answering import Event
from gateway.speaking import Answer, Run, Work, object_of, read
from schemas import approvals
from schemas.wire import Fact, Failure

SESSION = "session"
MOST_ENDED = 1000


class _Began(msgspec.Struct):
    work: Work
    text: str = ""


class _Over(msgspec.Struct):
    id: str
    error: Failure | None = None


class _StateSet(msgspec.Struct):
    name: str
    value: msgspec.Raw


class _Task(msgspec.Struct):
    session: str
    upto: int
    text: str = ""


class _Started(msgspec.Struct):
    args: msgspec.Raw = msgspec.Raw(b"null")


class Translator:
    """Translates one session's stream. `session` is its name; with `says_user` what people say is shown as well."""

    def __init__(self, session: str, *, says_user: bool = True) -> None:
        self.session = session
        self.run: Run | None = None
        self._says_user = says_user
        self._ended: dict[str, None] = {}
        self._pending_state: list[Event] = []

    def take(self, fact: Fact) -> list[Event]:
        """The events that a fact leads to, in order.

        The messages of a MESSAGES_SNAPSHOT are the run's own: those before message `run.number` belong before them.
        """
        run = self.run
        if fact.type == "event":
            return list(self._event(fact))
        if run is None:
            return []
        if fact.type == "progress":
            return list(run.progress(fact))
        if fact.command == run.id and fact.kind != SESSION:
            if fact.type == "result":
                return self._finish(run, fact.data)
            if fact.type == "error":
                return self._fail(run, read(fact.data, Failure) or Failure("handler_failed", "the run has failed"))
        return []

    def _event(self, fact: Fact) -> Iterator[Event]:
        run = self.run
        if fact.kind == SESSION:
            yield from self._of_session(fact)
        elif fact.name == "troupe.started":
            yield from self._started(fact)
        elif run is None:
            return
        elif fact.kind == approvals.KIND:
            if fact.name in ("Requested", "Ended"):
                value = {"id": fact.key, **object_of(fact.data)}
                yield {"type": "CUSTOM", "name": f"approval_{fact.name.lower()}", "value": value}
        elif fact.name == "troupe.step":
            yield from run.step(fact)
        elif fact.name == "troupe.ended":
            yield from run.child_ended(fact)

    def _of_session(self, fact: Fact) -> Iterator[Event]:
        if fact.key != self.session:
            return
        if fact.name == "Began" and (began := read(fact.data, _Began)) is not None:
            yield from self._begin(began.work, fact)
            if self._says_user and self.run is not None:
                id = f"{began.work.id}.user"
                yield {"type": "TEXT_MESSAGE_START", "messageId": id, "role": "user"}
                yield {"type": "TEXT_MESSAGE_CONTENT", "messageId": id, "delta": began.text}
                yield {"type": "TEXT_MESSAGE_END", "messageId": id}
        elif fact.name == "StateSet" and (state := read(fact.data, _StateSet)) is not None:
            yield from self._state(state)
        elif fact.name == "Over" and (over := read(fact.data, _Over)) is not None:
            if self.run is None or self.run.id != over.id:
                return
            # What the run itself said of its end was lost.
            if over.error is not None:
                yield from self._fail(self.run, over.error)
            else:
                yield from self._finish(self.run, fact.data)

    def _begin(self, work: Work, fact: Fact) -> Iterator[Event]:
        if work.id in self._ended or (self.run is not None and self.run.id == work.id):
            return
        if self.run is not None:
            yield from self._fail(self.run, Failure("not_running", "another run has begun: the end of this is lost"))
        self.run = Run(work)
        yield {"type": "RUN_STARTED", "threadId": self.session, "runId": work.id}
        if self._pending_state:
            yield {"type": "STATE_DELTA", "delta": self._pending_state}
            self._pending_state = []

    def _started(self, fact: Fact) -> Iterator[Event]:
        started = read(fact.data, _Started)
        task = None if started is None else read(started.args, _Task)
        if task is None:
            return
        if self.run is None and task.session == self.session and fact.command not in self._ended:
            yield from self._begin(Work(fact.command, fact.kind, task.upto), fact)
        if self.run is not None:
            yield from self.run.started(fact, speaks=task.session == self.session)

    def _state(self, state: _StateSet) -> Iterator[Event]:
        path = "/" + state.name.replace("~", "~0").replace("/", "~1")
        value = msgspec.json.decode(state.value)
        delta: list[Event] = [{"op": "add", "path": path, "value": value}]
        if value is None:
            delta.append({"op": "remove", "path": path})  # which fails where there is none: hence the first one
        if self.run is None:
            self._pending_state += delta  # outside of a run nothing may be said
        else:
            yield {"type": "STATE_DELTA", "delta": delta}

    def _finish(self, run: Run, data: msgspec.Raw) -> list[Event]:
        answer = read(data, Answer) or Answer()
        text = answer.text or next((one.content for one in reversed(answer.messages) if one.role == "assistant"), "")
        events = list(run.finish(text, answer.messages))
        result: Event = {"text": text}
        if answer.output is not None:
            result["output"] = answer.output
        events.append({"type": "RUN_FINISHED", "threadId": self.session, "runId": run.id, "result": result})
        self._close(run)
        return events

    def _fail(self, run: Run, failure: Failure) -> list[Event]:
        events = list(run.fail())
        events.append({"type": "RUN_ERROR", "message": failure.message, "code": failure.code})
        self._close(run)
        return events

    def _close(self, run: Run) -> None:
        self._ended[run.id] = None
        if len(self._ended) > MOST_ENDED:
            del self._ended[next(iter(self._ended))]
        self.run = None
