"""NATS subjects and stream names, built and parsed in one place.

    cmd.<tenant>.<kind>.<key>.<method>              stream CMD, stored as p.<partition>.<tenant>.<kind>.<key>.<method>
    intent.<tenant>.<session>                       stream INTENT, stored as i.<lane>.<tenant>.<session>
    ev.<tenant>.<session>                           stream EV
    q.<partition>.<tenant>.<kind>.<key>.<method>    core NATS, to the pod that owns the partition for that kind
    call.<tenant>.<kind>.<key>.<method>             core NATS, request/reply front, any pod
    svc.<name>                                      core NATS, what any pod can answer (see SERVICES)
    commits.<group>                                 core NATS, after each commit: how far each lane of the log has come
    lanes.<group>                                   core NATS, between pods: lanes were released
    _INBOX.<tenant>.>                               where that tenant's replies go
    _INBOX.<tenant>.backlog                         core NATS, from pods: how much of that tenant waits
"""

from __future__ import annotations

from schemas.address import Address, check_name, encode_token
from schemas.control import METHODS

CMD_STREAM = "CMD"
INTENT_STREAM = "INTENT"
INTENT_LANES = 16
"""Into how many lanes sessions are hashed; one intent of a lane is in flight at a time, whoever takes it."""

EV_STREAM = "EV"
ALL_EVENTS = "ev.*.*"
"""What every session's watchers see, of every tenant."""

OBJECT_BUCKET = "troupe-commands"
"""Object store bucket for bodies of commands in flight that are too big for a message."""

SERVICES = (
    "info", "capabilities", "ready", "session", "log", "actors", "dead", "partitions", "groups", "promote", "retire",
    "drop", "runs", "run",
)  # fmt: skip
"""What any pod answers on `svc.<name>`."""

SERVICE_QUEUE = "troupe-pods"


def command(address: Address, method: str) -> str:
    """The subject a command is published to; `method` may be one of schemas.control. Raises BadAddress."""
    return f"cmd.{_actor(address)}.{method if method in METHODS else check_name(method, 'method')}"


def call(address: Address, method: str) -> str:
    """The subject of the plain request/reply front. Raises BadAddress."""
    return f"call.{_actor(address)}.{check_name(method, 'method')}"


def query(partition: int, address: Address, method: str) -> str:
    """The subject on which the owner of `partition` answers reads; methods that begin with '$' are the engine's own."""
    return f"q.{partition}.{_actor(address)}.{method if method.startswith('$') else check_name(method, 'method')}"


def intent(tenant: str, session: str) -> str:
    """The subject of intents said in a session."""
    return f"intent.{check_name(tenant, 'tenant')}.{encode_token(session)}"


def events(tenant: str, session: str) -> str:
    """The subject of everything a session's watchers see."""
    return f"ev.{check_name(tenant, 'tenant')}.{encode_token(session)}"


def inbox_prefix(tenant: str) -> str:
    """The prefix that every reply subject of `tenant` must have (without the final dot)."""
    return f"_INBOX.{check_name(tenant, 'tenant')}"


def backlog(tenant: str) -> str:
    """Where pods say how much of `tenant` waits; `*` for all tenants."""
    return f"_INBOX.{tenant}.backlog"


def commits(group: str) -> str:
    """Where the pods of `group` say how far the log has come."""
    return f"commits.{group}"


def lanes_moved(group: str) -> str:
    """Where the pods of `group` say that they released lanes."""
    return f"lanes.{group}"


def _actor(address: Address) -> str:
    return (
        f"{check_name(address.tenant, 'tenant')}.{check_name(address.kind, 'kind')}.{encode_token(address.key)}"
    )
