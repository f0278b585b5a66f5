"""A kind of actor as the host sees it: its methods and its fold.

Entities, key-value entities and functions are three ways to define one; the engine knows only this shape.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

from runtime.arguments import Arguments, Result
from runtime.errors import BadDefinition, Rejected
from runtime.index import Index
from runtime.policy import OnParked, Retention, RetryPolicy
from runtime.turn import Turn
from schemas.address import BadAddress, check_name
from schemas.wire import Capability, Failure, Skill
from schemas.wire import Method as MethodInfo

SYSTEM_EVENT_PREFIX = "troupe."
"""Types of events that the engine writes itself (a parked message, a pause). No fold sees them."""


made_of = tuple.__new__
"""A NamedTuple of all its fields, given as a tuple: its own constructor is written in Python and takes thrice as long.
For those that each command makes."""


class NewEvent(NamedTuple):
    """An event before it has a place in the log. `payload` is JSON text."""

    type: str
    version: int
    payload: str


class StoredEvent(NamedTuple):
    """An event as the fold reads it back. `payload` is the JSON text that was stored."""

    seq: int
    type: str
    version: int
    payload: str


class Decided(NamedTuple):
    """What came of a turn: its events, the state folded from them, and the result for the caller as JSON."""

    events: list[NewEvent]
    state: Any
    result: bytes


class Admission(NamedTuple):
    """What becomes of a command that would begin a run.

    It begins, waits behind the one that goes on, replaces it (`run` is the command to be cancelled), or is told
    `failure`, else `result`, at once.
    """

    what: Literal["begin", "wait", "replace", "refuse", "answer"]
    result: bytes = b"null"
    failure: Failure | None = None
    run: str = ""


BEGIN = Admission("begin")


class Method(abc.ABC):
    """One method of a kind."""

    flavor: ClassVar[Literal["command", "query", "execution"]]
    exclusive: bool = True
    """Whether it has the actor's key to itself, and waits for what holds it."""
    limiter: str | None = None
    """The kind of the actor that is to be told when a run has ended; see runtime.limits."""
    debounce_s: float = 0.0
    """Seconds for which no other command may come before one runs; of several, the last one does. 0: each runs."""

    def __init__(self, name: str, handler: Any, arguments: Arguments, result: Result) -> None:
        self.name = _defined_name(name, "method")
        self.handler = handler
        self.arguments = arguments
        self.result = result

    def describe(self) -> MethodInfo:
        """The method as capabilities show it."""
        return MethodInfo(
            name=self.name,
            flavor=self.flavor,
            arguments=self.arguments.schema(),
            result=self.result.schema(),
            description=(self.handler.__doc__ or "").strip(),
        )


class Decision(Method):
    """A pure method: state and command give events. It runs inside the group commit."""

    flavor = "command"

    @abc.abstractmethod
    def decide(self, state: Any, payload: Any, turn: Turn) -> Decided:
        """Runs the handler, checks and encodes its events, and folds what decoding them gives."""


class Read(Method):
    """A method that reads committed state and changes nothing."""

    flavor = "query"
    exclusive = False

    @abc.abstractmethod
    def read(self, state: Any, payload: Any, turn: Turn) -> bytes:
        """The result as JSON."""


class Inquiry(Read):
    """A query that may wait: it reads logs and indexes beside the committed state (runtime.reading)."""

    @abc.abstractmethod
    def inquire(self, state: Any, payload: Any, turn: Turn) -> Awaitable[bytes]:
        """The result as JSON."""

    def read(self, state: Any, payload: Any, turn: Turn) -> bytes:
        """It is no part of a turn: as a command it runs beside them, and in a Scenario not at all."""
        raise Rejected(f"{turn.address}.{self.name} reads the log: ask a World or a pod")


class Execution(Method):
    """A method that may wait and do I/O: accepted first, run beside the turns, then committed.

    `exclusive` holds the actor's key until it is done; later messages wait in order.
    """

    flavor = "execution"
    timeout_s: float | None = None
    paced: ClassVar[bool] = False
    """Whether it is a workflow: what it waits for is handed to it in the order of the log (runtime.flow)."""
    step_retry: RetryPolicy | None = None
    """Of a workflow's steps that name no policy."""
    run_timeout_s: float | None = None
    """Seconds after which a run is ended, over all attempts and waits, unless its command says otherwise."""
    queue_timeout_s: float | None = None
    """Seconds after which one that has not begun is not wanted any more, unless its command says otherwise."""

    @abc.abstractmethod
    def run(self, state: Any, payload: Any, turn: Turn) -> Awaitable[Decided]:
        """Runs the handler on the committed state."""


@dataclasses.dataclass(frozen=True, slots=True)
class Behaviour:
    """How the engine treats a kind's messages and memory."""

    retry: RetryPolicy = dataclasses.field(default_factory=RetryPolicy)
    on_parked: OnParked = "continue"
    snapshot_every: int = 200
    """Events after which a snapshot is written, off the hot path; 0 writes none."""
    retention: Retention | None = None
    """Which events stay rows; None keeps all, unless `runtime log archive` names the kind."""

    def __post_init__(self) -> None:
        if self.retention is not None and not self.snapshot_every:
            raise BadDefinition("retention needs snapshots: only events behind one are archived; set snapshot_every")


class Kind(abc.ABC):
    """A kind of actor."""

    type: ClassVar[Literal["entity", "kv", "function", "workflow"]]
    watches: ClassVar[frozenset[str]] = frozenset()
    """Names of the engine's own events that this kind's fold sees; all others see none."""
    called_once: ClassVar[bool] = False
    """Whether its actors are mostly called once: then one that is not in memory most likely has no events."""

    def __init__(self, name: str, behaviour: Behaviour) -> None:
        self.name = _defined_name(name, "kind")
        self.behaviour = behaviour
        self._methods: dict[str, Method] = {}
        self.description = ""
        self.indexed_by: Index | None = None
        self.skill: Skill | None = None
        """What sentences its runs answer, if a router may pick it (actors.router)."""
        self.companions: tuple[Kind, ...] = ()
        """Kinds that are served wherever this one is, unless one of that name is given, or is another group's."""

    @property
    def methods(self) -> Mapping[str, Method]:
        """The methods by name."""
        return self._methods

    @property
    @abc.abstractmethod
    def fold_version(self) -> str:
        """Changes when the fold changes, so that a snapshot of the old fold is not used."""

    @abc.abstractmethod
    def initial(self) -> Any:
        """The state of an actor without events."""

    @abc.abstractmethod
    def fold(self, state: Any, events: Sequence[StoredEvent]) -> Any:
        """The state after these stored events. Raises UnreadableEvent naming the one that cannot be decoded."""

    @abc.abstractmethod
    def encode_state(self, state: Any) -> bytes:
        """The state as JSON, for a snapshot."""

    @abc.abstractmethod
    def decode_state(self, snapshot: bytes) -> Any:
        """The state of a snapshot."""

    def capability(self, group: str, code_version: str) -> Capability:
        """What there is to know of the kind before it is called."""
        methods = [method.describe() for method in self.methods.values()]
        return Capability(self.name, group, self.type, code_version, methods, self.description, self.skill)

    def admission(self, state: Any, payload: Any, command_id: str) -> Admission:
        """What becomes of a command of an exclusive execution, before it begins."""
        return BEGIN

    def follows(self, state: Any) -> Failure | None:
        """Why no run may begin, with a signal, behind the one that the state tells of and that has ended."""
        return None

    def started(self, state: Any, payload: Any, turn: Turn) -> bytes | None:
        """The payload of the event with which an execution begins, if it has one and has not begun."""
        return None

    def ended(self, command_id: str, result: bytes, failure: Failure | None) -> bytes | None:
        """The payload of the event with which an execution ends, if it has one."""
        return None

    def validate(self, state: Any, name: str, value: bytes) -> None:  # noqa: B027  # most kinds have nothing to say
        """Looks at an update (its value as JSON) before it is recorded. Raises InvalidArguments and Rejected."""

    @abc.abstractmethod
    def method_for(self, command: Any) -> str:
        """The name of the method that takes this command object. Raises TypeError when none does."""


def with_companions(kinds: Sequence[Kind]) -> list[Kind]:
    """These kinds, and the ones that they bring along, each once; what is given goes before what is brought."""
    given = {kind.name for kind in kinds}
    found: dict[int, Kind] = {}
    waiting = list(kinds)
    while waiting:
        kind = waiting.pop(0)
        if id(kind) not in found:
            found[id(kind)] = kind
            waiting += [one for one in kind.companions if one.name not in given]
    return list(found.values())


DELETED = "deleted"
"""The name of the system event with which an actor's life ends: what was before it is gone, and a new one begins."""


def this_life(kind: Kind, state: Any, events: Sequence[StoredEvent]) -> tuple[Any, Sequence[StoredEvent]]:
    """(state to fold from, events to fold), where the actor may have been deleted among these events."""
    for at in range(len(events) - 1, -1, -1):
        if events[at].type == SYSTEM_EVENT_PREFIX + DELETED:
            return kind.initial(), events[at:]
    return state, events


def _defined_name(name: str, part: str) -> str:
    try:
        return check_name(name, part)
    except BadAddress as error:
        raise BadDefinition(f"{error}; pass name= to call it otherwise") from error
