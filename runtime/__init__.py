"""Troupe's engine: keyed, event-sourced actors on NATS JetStream and Postgres.

What a program that defines or calls actors needs is here: `from runtime import entity, Rejected`. Where the rest lives:

    entity.py     typed event-sourced actors: a handler gives events, `apply` folds them
    keyvalue.py   actors with named values, on the same engine
    function.py   stateless work, retried until it is done or parked
    workflow.py   durable code whose key is the run's id; flow/ runs it, pace.py tells when it is at rest
    journal.py    the steps of functions and async handlers; recorder.py what these share with a workflow's
    yields.py     what generators yield, committed while they go on
    showing.py    what runs show while they go on, beside the log
    limits.py     how many runs of a function go on at a time, over all pods
    cron.py       when something that recurs is due next
    turn.py       what a handler may see and ask for while it handles one message; sent.py what it sends
    arguments.py  from a body to a handler's arguments, from its result to JSON
    kind.py       the one shape in which the engine sees all of them
    fold.py       how stored events become state: older versions, and which fold made a snapshot
    policy.py     retries, what becomes of an actor whose message was parked, and which events stay rows
    errors.py     every error, split by who reacts to it
    failure.py    what is told of a handler's error: always something that the log and the wire can carry
    clock.py      all time and randomness
    scenario.py   tests of one entity: `account.given(...).when(...)`
    story.py      tests of one workflow: `checkout.given(...).when_done(charge).then_asks(...)`; stubs.py stubs of steps
    testing/      what a test imports: a World whose workflows always replay, and the same one on a pod
    ambient/      what handlers have around them: log, metrics, spans, secrets, configuration
    replaying/    what other code makes of a recorded log
    world.py      tests of several actors together, in memory; world_actor.py is one of them
    client/       calling actors over NATS; the only part of the engine that the gateway imports
    jetstream/    the broker's streams and consumers
    postgres/     the event log and everything that commits with it
    archive/      where old events are kept: files or object storage
    host/         a pod: partitions, mailboxes, turns, group commit
    telemetry/    traces, metrics and logs, off by default
    infra/        the embedded nats-server and Postgres
    cli/          the command line

Importing this package loads neither a database nor a broker client: `World`, `Client` and `Run` are loaded when first
asked for, and anything larger (HTTP, telemetry, models) only by the process that runs it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from runtime.entity import Entity, entity
from runtime.errors import (
    BadDefinition,
    CallFailed,
    Misconfigured,
    NotConnected,
    Rejected,
    Retry,
    StepFailed,
    TroupeError,
    UnreadableEvent,
)
from runtime.flow.context import Workflow
from runtime.flow.state import RunView
from runtime.function import Function, function
from runtime.heartbeats import heartbeat, heartbeat_detail
from runtime.keyvalue import KeyValue, KeyValueEntity, keyvalue
from runtime.limits import Limits
from runtime.policy import Retention, RetryPolicy
from runtime.turn import Turn
from runtime.workflow import WorkflowKind, workflow

if TYPE_CHECKING:
    from runtime.client import Client, Run
    from runtime.world import World

    __version__: str

__all__ = [
    "BadDefinition",
    "CallFailed",
    "Client",
    "Entity",
    "Function",
    "KeyValue",
    "KeyValueEntity",
    "Limits",
    "Misconfigured",
    "NotConnected",
    "Rejected",
    "Retention",
    "Retry",
    "RetryPolicy",
    "Run",
    "RunView",
    "StepFailed",
    "TroupeError",
    "Turn",
    "UnreadableEvent",
    "Workflow",
    "WorkflowKind",
    "World",
    "__version__",
    "entity",
    "function",
    "heartbeat",
    "heartbeat_detail",
    "keyvalue",
    "workflow",
]

_LOADED_WHEN_ASKED_FOR = {
    "Client": ("runtime.client", "Client"),
    "Run": ("runtime.client", "Run"),
    "World": ("runtime.world", "World"),
    "__version__": ("runtime.version", "VERSION"),
}


def __getattr__(name: str) -> Any:
    if name not in _LOADED_WHEN_ASKED_FOR:
        raise AttributeError(f"module 'runtime' has no attribute {name!r}")
    module, attribute = _LOADED_WHEN_ASKED_FOR[name]
    value = getattr(importlib.import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
