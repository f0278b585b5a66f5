"""Workflows: plain async code that survives every crash, and whose key is the run's id.

    @workflow
    async def checkout(ctx: Workflow, order: Order) -> Receipt:
        payment = await ctx.step(charge, order, returns=Payment)
        await ctx.signal("packed", timeout_s=86_400)
        return await ctx.step(ship, payment, returns=Receipt)

    @checkout.query
    def status(run: RunView) -> str: ...

What it waits for is in the log, and handed to it in the order of the log (runtime.flow): a replay does the same.
"""

from __future__ import annotations

import inspect
import zlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

import msgspec

from runtime.arguments import Arguments, Result, encode_json, hints_of, name_of
from runtime.errors import BadDefinition
from runtime.flow import state as states
from runtime.flow.context import CURRENT, RUN, Workflow
from runtime.flow.paced import PacedSteps
from runtime.flow.state import RunState, RunView, Started
from runtime.kind import Admission, Behaviour, Decided, Execution, Kind, Read, StoredEvent
from runtime.policy import OnParked, RetryPolicy
from runtime.turn import Turn
from schemas.digest import signed
from schemas.headers import travelling
from schemas.runs import timeout_of
from schemas.wire import Failure

if TYPE_CHECKING:
    from runtime.story import Story

Handler = TypeVar("Handler", bound=Callable[..., Any])

OnExisting = Literal["join", "reject", "replace"]

ATTEMPTS = RetryPolicy(max_attempts=3)


class WorkflowKind(Kind):
    """A kind whose actor is a run. Made by `@workflow`."""

    type = "workflow"
    fold_version = "workflow-1"
    watches = states.WATCHED
    called_once = True

    def __init__(
        self, name: str, handler: Callable[..., Any], on_existing: OnExisting, step_retry: RetryPolicy | None,
        behaviour: Behaviour, run_timeout_s: float | None = None, queue_timeout_s: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__(name, behaviour)
        self.handler = handler
        self.on_existing = on_existing
        self.description = (handler.__doc__ or "").strip()
        self._methods[RUN] = run = _Run(handler, step_retry)
        run.run_timeout_s, run.queue_timeout_s = _timeout(run_timeout_s), _timeout(queue_timeout_s)
        self._methods[CURRENT] = _Query(CURRENT, current)
        self._validators: dict[str, _Validator] = {}

    def initial(self) -> RunState:
        return RunState()

    def fold(self, state: RunState, events: Sequence[StoredEvent]) -> RunState:
        return states.fold(state, events)

    def encode_state(self, state: RunState) -> bytes:
        return msgspec.json.encode(state)

    def decode_state(self, snapshot: bytes) -> RunState:
        return msgspec.json.decode(snapshot, type=RunState)

    def method_for(self, command: Any) -> str:
        return RUN

    def given(self, args: Any = None, **options: Any) -> Story:
        """A run in a test, up to where it waits; see runtime.story.Story.given."""
        from runtime.story import Story  # noqa: PLC0415  # for tests alone

        return Story.given(self, args, **options)

    def query(self, handler: Handler) -> Handler:
        """Registers a query: `(run: RunView, …)`, a plain function, answered from what is committed at any time."""
        self._register(_Query(handler.__name__, handler))
        return handler

    def validator(self, name: str) -> Callable[[Handler], Handler]:
        """Registers what looks at updates of that name before anything is recorded: `(run: RunView, …)`.

        Its further parameters are the update's value, by name or as one object. It raises Rejected to refuse.
        """

        def register(handler: Handler) -> Handler:
            if name in self._validators:
                raise BadDefinition(f"workflow {self.name!r} has two validators of update {name!r}")
            self._validators[name] = _Validator(name, handler)
            return handler

        return register

    def _register(self, query: _Query) -> None:
        if query.name in self._methods:
            raise BadDefinition(f"workflow {self.name!r} has two methods named {query.name!r}")
        self._methods[query.name] = query

    # -- runs as facts of the actor -------------------------------------------------------------------------------

    def admission(self, state: RunState, payload: Any, command_id: str) -> Admission:
        """What becomes of a start, by `on_existing`."""
        if state.run in ("", command_id):
            return Admission("begin")
        if self.on_existing == "replace":
            return Admission("replace", run=state.run) if state.status == "running" else Admission("begin")
        if self.on_existing == "reject":
            text = f"{self._exists(state)}: choose another id for a new run"
            return Admission("refuse", failure=Failure("rejected", text))
        if signed(zlib.crc32(encode_json(payload))) != state.digest:
            text = f"{self._exists(state)} with other arguments: choose another id for a new run"
            return Admission("refuse", failure=Failure("rejected", text))
        if state.status == "running":
            return Admission("wait")
        return Admission("answer", result=bytes(state.result), failure=state.failure)

    def follows(self, state: RunState) -> Failure | None:
        if state.run and self.on_existing == "reject":
            return Failure("rejected", f"{self._exists(state)}: choose another id for a new run")
        return None

    def _exists(self, state: RunState) -> str:
        return f"this run of workflow {self.name!r} exists already ({state.status}, command {state.run})"

    def started(self, state: RunState, payload: Any, turn: Turn) -> bytes | None:
        """The payload of the event with which a run begins; None for one that has begun."""
        if state.run == turn.command_id:
            return None
        args = encode_json(payload)
        run, at, digest = turn.command_id, int(turn.now * 1000), signed(zlib.crc32(args))
        headers = travelling(turn.headers) if turn.headers else {}
        return encode_json(Started(run, at, digest, msgspec.Raw(args), list(turn.roles), headers))

    def ended(self, command_id: str, result: bytes, failure: Failure | None) -> bytes:
        """The payload of the event with which a run ends."""
        return encode_json(states.Ended(command_id, msgspec.Raw(result), failure))

    def validate(self, state: RunState, name: str, value: bytes) -> None:
        """Raises InvalidArguments and Rejected for an update that is refused before it is recorded."""
        validator = self._validators.get(name)
        if validator is not None:
            validator.check(RunView(state), value)


def current(run: RunView) -> dict[str, Any]:
    """The actor's latest run: its command's id, how it is, what it has published, and why it failed."""
    published = {name: run.get(name) for name in run.names()}
    return {"run": run.command_id, "status": run.status, "published": published, "error": run.error}


def _timeout(seconds: float | None) -> float | None:
    """A time-out of a definition. Raises BadDefinition when the log could not keep it."""
    if seconds is not None:
        try:
            timeout_of(f"{seconds:.3f}")
        except ValueError as error:
            raise BadDefinition(f"a time-out of a workflow: {error}") from error
    return seconds


class _Run(Execution):
    paced = True

    def __init__(self, handler: Callable[..., Any], step_retry: RetryPolicy | None) -> None:
        if not inspect.iscoroutinefunction(handler):
            raise BadDefinition(f"{name_of(handler)} must be an async function: a workflow waits")
        hints = hints_of(handler)
        parameters = list(inspect.signature(handler).parameters.values())
        if not parameters:
            raise BadDefinition(f"{name_of(handler)} takes ctx as its first parameter")
        super().__init__(
            RUN, handler, Arguments(handler, parameters[1:], hints), Result(handler, hints.get("return", Any))
        )
        self.step_retry = step_retry

    async def run(self, state: Any, payload: Any, turn: Turn) -> Decided:
        assert isinstance(state, RunState)
        steps, mail, asker = turn.waits_through()
        assert isinstance(steps, PacedSteps)
        if state.generation:
            payload = self.arguments.decode(bytes(state.args))
        context = Workflow(turn, steps, mail, asker, state.generation)
        value = await self.handler(context, *self.arguments.spread(payload))
        return Decided([], state, self.result.encode(value))


class _Query(Read):
    def __init__(self, name: str, handler: Callable[..., Any]) -> None:
        rest, hints = _rest_of(handler)
        super().__init__(name, handler, Arguments(handler, rest, hints), Result(handler, hints.get("return", Any)))

    def read(self, state: Any, payload: Any, turn: Turn) -> bytes:
        return self.result.encode(self.handler(RunView(state), *self.arguments.spread(payload)))


class _Validator:
    def __init__(self, name: str, handler: Callable[..., Any]) -> None:
        rest, hints = _rest_of(handler)
        self._handler = handler
        self._arguments = Arguments(handler, rest, hints)

    def check(self, run: RunView, value: bytes) -> None:
        self._handler(run, *self._arguments.spread(self._arguments.decode(value)))


def _rest_of(handler: Callable[..., Any]) -> tuple[list[inspect.Parameter], dict[str, Any]]:
    """The parameters behind the first, and all annotations."""
    if inspect.iscoroutinefunction(handler) or inspect.isgeneratorfunction(handler):
        raise BadDefinition(f"{name_of(handler)} must be a plain function: it reads, and does not wait")
    parameters = list(inspect.signature(handler).parameters.values())
    if not parameters:
        raise BadDefinition(f"{name_of(handler)} takes the run (a RunView) as its first parameter")
    return parameters[1:], hints_of(handler)


@overload
def workflow(handler: Callable[..., Any], /) -> WorkflowKind: ...
@overload
def workflow(
    name: str | None = None,
    /,
    *,
    on_existing: OnExisting = "join",
    step_retry: RetryPolicy | None = None,
    retry: RetryPolicy | None = None,
    on_parked: OnParked = "continue",
    run_timeout_s: float | None = None,
    queue_timeout_s: float | None = None,
) -> Callable[[Callable[..., Any]], WorkflowKind]: ...
def workflow(
    handler: Callable[..., Any] | str | None = None,
    /,
    *,
    on_existing: OnExisting = "join",
    step_retry: RetryPolicy | None = None,
    retry: RetryPolicy | None = None,
    on_parked: OnParked = "continue",
    run_timeout_s: float | None = None,
    queue_timeout_s: float | None = None,
) -> Any:
    """Defines a workflow: `async (ctx: Workflow, …)`, called by its method `run` on the key that is the run's id.

    Args:
        handler: the name of the kind; the function's own by default.
        on_existing: what a start does on a key that has a run: `join` waits for its result, or gives it, if the
            arguments are the same, and is rejected otherwise; `reject` is rejected; `replace` cancels a run that goes
            on, waits for its end, and begins anew. A repeat of the same command is answered as the first one, always.
        step_retry: of steps that name no policy; three attempts by default.
        retry: when the code itself fails; three attempts by default, then it is parked. A run that lets out
            Rejected, or the StepFailed of a step, has failed for good.
        on_parked: whether later starts go on or wait after a run was parked.
        run_timeout_s: seconds after which a run is ended (`timed_out`), over all its attempts and waits.
        queue_timeout_s: seconds after which a run that has not begun is not wanted any more (`expired`). Both count
            from its acceptance, or from when it is to start; those that come with a command count instead.

    Raises BadDefinition when the definition cannot work.
    """
    if on_existing not in ("join", "reject", "replace"):
        raise BadDefinition(f"on_existing is 'join', 'reject' or 'replace', not {on_existing!r}")

    def define(given: Callable[..., Any]) -> WorkflowKind:
        name = handler if isinstance(handler, str) else given.__name__
        behaviour = Behaviour(retry or ATTEMPTS, on_parked)
        return WorkflowKind(name, given, on_existing, step_retry, behaviour, run_timeout_s, queue_timeout_s)

    return define(handler) if callable(handler) else define
