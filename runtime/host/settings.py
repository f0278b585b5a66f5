"""How a pod is configured: by argument, else by environment, else by default."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from runtime.errors import Misconfigured
from runtime.host.places import places_of
from runtime.host.quotas import Quotas
from schemas.address import BadAddress, check_name

PREFIX = "RUNTIME_"


@dataclasses.dataclass(frozen=True, slots=True)
class PodSettings:
    """A pod's settings; each can be set by RUNTIME_<NAME> in the environment.

    Attributes:
        nats_url, postgres_url: the servers. Several Postgres URLs, separated by spaces, share the partitions, in this
            order and for ever (runtime.host.places).
        tenant_backlog: how many commands of a tenant may wait, as `100000 acme=5000`; 0 or nothing for any number.
        cmd_streams: streams for the commands of some kinds, as `ORDERS=order,shipment BANK=account`; CMD has the rest.
        group: pods of one group serve the same kinds and share their lanes; one whose kinds are another's stands by.
        partitions: fixed when the stream is made; a group has at most so many working pods (docs/adr/0006).
        replicas: of the streams; 3 in production.
        code_version: kept with every event.
        lease_ttl_s: a pod that says nothing for so long loses its lanes.
        heartbeat_s, balance_s: how often membership is renewed, and lanes are looked at.
        max_batch: items in one commit.
        max_activations, idle_s: actors kept in memory, and how long without a turn.
        max_resident_mb: above it, the least recently used actors are passivated; 0 for no limit.
        handler_timeout_s: how long a decision or query that blocks is waited for, in a thread of its own.
        suspend_after_s: how long an execution may only wait before it is suspended; 0 for ever.
        drain_s: how long running executions may go on when their lane is handed over.
        inbox_window_s: how long answers are kept for repeats.
        runs_window_s: how long runs that have ended are listed; 0 for ever.
        trim_lag_s: how long processed commands stay in the stream, so that a restored database can catch up.
        archive_url: where kinds with a retention have their old events moved (docs/archive.md); None moves none.
        archive_every_s: how often they are looked for.
        signing_key: proves principals (schemas.signature); None believes none.
    """

    nats_url: str
    postgres_url: str
    group: str = "default"
    partitions: int = 32
    replicas: int = 1
    code_version: str = "unversioned"
    lease_ttl_s: float = 2.0
    heartbeat_s: float = 0.4
    balance_s: float = 0.25
    max_batch: int = 512
    max_activations: int = 100_000
    idle_s: float = 300.0
    max_resident_mb: int = 0
    handler_timeout_s: float = 30.0
    suspend_after_s: float = 30.0
    drain_s: float = 5.0
    inbox_window_s: float = 86_400.0
    runs_window_s: float = 604_800.0
    trim_lag_s: float = 60.0
    archive_url: str | None = None
    archive_every_s: float = 3600.0
    signing_key: str | None = None
    tenant_backlog: str = ""
    cmd_streams: str = ""


def from_environment(environment: Mapping[str, str] | None = None, **given: Any) -> PodSettings:
    """Settings from arguments (those that are not None), the environment and the defaults. Raises Misconfigured."""
    environment = os.environ if environment is None else environment
    values = {name: value for name, value in given.items() if value is not None}
    for field in dataclasses.fields(PodSettings):
        text = environment.get(PREFIX + field.name.upper())
        if field.name in values or text is None:
            continue
        kind = {"int": int, "float": float}.get(str(field.type), str)
        try:
            values[field.name] = kind(text)
        except ValueError as error:
            raise Misconfigured(f"{PREFIX}{field.name.upper()}={text!r} is not a number") from error
    for name in ("nats_url", "postgres_url"):
        if name not in values:
            raise Misconfigured(f"no {name} is given: set {PREFIX}{name.upper()}, or let `runtime` start servers")
    settings = PodSettings(**values)
    if not 1 <= settings.partitions <= 1024:
        raise Misconfigured(f"partitions is {settings.partitions}: it must be between 1 and 1024")
    try:
        check_name(settings.group, "group")
    except BadAddress as error:
        raise Misconfigured(f"{error}; name the pods' group with --group or RUNTIME_GROUP") from error
    if settings.heartbeat_s * 3 > settings.lease_ttl_s:
        raise Misconfigured("lease_ttl_s must be at least three times heartbeat_s, or one lost heartbeat loses lanes")
    places_of(settings)
    Quotas(settings.tenant_backlog)
    return settings
