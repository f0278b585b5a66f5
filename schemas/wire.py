"""The Structs on the wire. Field names are part of the protocol (docs/protocol.md): added, never renamed."""

from __future__ import annotations

from typing import Any, Literal

import msgspec


class Failure(msgspec.Struct, omit_defaults=True):
    """Why a command did not do what was asked. `code` is one of schemas.errors.CODES."""

    code: str
    message: str
    path: str | None = None
    """Where in the arguments, as a JSON path, when the arguments are at fault."""
    details: Any = None


class Reply(msgspec.Struct, omit_defaults=True):
    """The answer to one command: `result` when `error` is None.

    `seq` is the actor's sequence number after the command. `repeated` marks the recorded answer to an id seen before.
    """

    id: str
    seq: int = 0
    result: msgspec.Raw = msgspec.Raw(b"null")
    error: Failure | None = None
    repeated: bool = False


class Fact(msgspec.Struct, omit_defaults=True):
    """One entry of a session's stream (EV). `position` is `<lane>:<position>` in the log for type `event`.

    type     data
    event    the event's payload; `name` is the event's type
    result   the Reply's result; `name` is the method
    error    the Failure
    accepted null: the command is durable and runs
    progress what a step of the command's run shows while it goes on, a list; `name` is the step's, or '' outside of one

    Progress is not in the log. Of one step (`name` and `occurrence`: how many of that name were before it), what has a
    greater `attempt` makes void what had a smaller one; with an empty list that is all it says. `first` is the number
    of the first value in its attempt: a gap says that values were lost. Attempt 0 is never void; who goes on with a run
    whose process died may show its last ones again, under their numbers.
    """

    type: Literal["event", "result", "error", "accepted", "progress"]
    name: str
    command: str
    tenant: str
    kind: str
    key: str
    seq: int = 0
    position: str | None = None
    at: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"null")
    attempt: int = 0
    occurrence: int = 0
    first: int = 0


class Intent(msgspec.Struct, omit_defaults=True):
    """What `intent.<tenant>.<session>` and `POST /intent` carry: call `method` of actor `kind`/`key` with `args`."""

    kind: str
    key: str
    method: str
    args: Any = None
    id: str | None = None
    deadline_ms: int | None = None


class Method(msgspec.Struct, omit_defaults=True):
    """A method as capabilities show it. `flavor`: command, query or execution. Schemas are JSON Schema 2020-12.

    `yields` is the schema of what a generator yields, whose result is how many values that were.
    """

    name: str
    flavor: Literal["command", "query", "execution"]
    arguments: dict[str, Any] = {}
    result: dict[str, Any] = {}
    description: str = ""
    yields: dict[str, Any] | None = None


class Skill(msgspec.Struct, frozen=True, omit_defaults=True):
    """What sentences a kind answers, for who picks one by a sentence: what it does, and what is said to it."""

    description: str
    examples: tuple[str, ...] = ()


class Capability(msgspec.Struct, omit_defaults=True):
    """A kind that pods serve: its group, code version and methods.

    `skill` is of one that answers sentences; `served` is False while no living pod has it.
    """

    kind: str
    group: str
    type: Literal["entity", "kv", "function", "workflow"]
    code_version: str
    methods: list[Method]
    description: str = ""
    skill: Skill | None = None
    served: bool = True


class Info(msgspec.Struct):
    """What a client needs to know of the system before its first query."""

    partitions: int
    version: str
    log_id: str


class LogEvent(msgspec.Struct, omit_defaults=True):
    """One event as readers of the log see it. `at` is RFC 3339 in UTC; `payload` is the exact JSON that was stored."""

    tenant: str
    kind: str
    key: str
    seq: int
    lane: int
    position: int
    type: str
    version: int
    at: str
    command_id: str
    payload: msgspec.Raw
    session: str | None = None
    causation_id: str | None = None
    correlation_id: str | None = None
    principal: str | None = None
    code_version: str | None = None
    epoch: int = 0
