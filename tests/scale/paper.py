"""What the measured laws say of sizes that do not fit here: where the next wall stands on each axis, and what moves it.

Every figure in these texts is computed from a law; what is not measured (a server's limit, a machine's size) is said.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from tests.scale.laws import Law

Measured = dict[str, dict[str, Law]]
"""axis → figure → law, in the unit that the table shows."""

CORE_US = 1e6
GATEWAY_GIB = 4
MAX_CONNECTIONS = 100
"""Postgres's default, which the embedded server keeps."""

DISK_MB_S = 200.0
"""What a modest disk writes in sequence, as a data sheet would say."""


def paragraphs(measured: Measured) -> list[str]:
    """A paragraph for each axis that was measured, and what moves the walls."""
    texts = [text for name, text in _TEXTS.items() if name in measured]
    return [text(measured) for text in texts] + [_MAP]


def about(value: float) -> str:
    """A figure with the two digits that a law is good for."""
    if value <= 0:
        return "0"
    digits = max(0, math.floor(math.log10(value)) - 1)
    return f"{round(value / 10**digits) * 10**digits:,}" if value >= 10 else f"{value:.1f}"


def _watching(measured: Measured) -> str:
    one = measured["watching"]
    clients = 1e4
    memory = one["gateway_kib"].at(clients)
    facts = CORE_US / max(one["fact_gateway_us"].at(clients), 1e-9)
    idle = one["idle_gateway_share"].at(clients)
    return (
        f"**Watched sessions.** A client takes {memory:.0f} KiB of its gateway, so {GATEWAY_GIB} GiB hold some "
        f"{about(GATEWAY_GIB * 2**20 / memory)}; ten thousand quiet ones take {idle:.1f}% of a core, for signs of "
        f"life. A gateway's one core delivers some {about(facts)} facts a second, and that is the wall one meets "
        f"first: ten thousand clients may have {facts / clients:.1f} facts a second each. Open files are the third "
        "(`ulimit -Hn`). All three fall with more gateways, since nothing binds a client to one. What does not: "
        "every gateway takes every fact of the system from the broker, watched there or not, at some microseconds "
        "each, so that beyond some tens of thousands of facts a second EV itself has to be split, by tenant or "
        "session, and the gateways with it."
    )


def _shared(measured: Measured) -> str:
    each = measured["shared"]["fact_gateway_us"].at(1e4)
    return (
        f"**One session that many watch.** A fact costs its gateway {each:.0f} µs for each client, so the last of "
        f"ten thousand has it {each * 1e4 / 1e6:.1f} s after the first, and of a hundred thousand on ten gateways as "
        "well: the wall is a gateway's core, and more gateways move it."
    )


def _keys(measured: Measured) -> str:
    one = measured["keys"]
    size = one["bytes_an_event"].at(1e7)
    grown = {name: one[f"{name}_us"].at(1e9) / max(one[f"{name}_us"].at(1e4), 1e-9) for name in ("pod", "postgres")}
    return (
        f"**Rows.** By the laws above a command costs a pod {grown['pod']:.1f} times, and Postgres "
        f"{grown['postgres']:.1f} times as much at a thousand million rows as at ten thousand. An event takes "
        f"{about(size)} bytes with its answer and all indexes, so a thousand million take {about(size)} GB: the disk "
        "is the wall, and before it the memory, once the indexes' pages that commands touch no longer fit (answers "
        "stand in the order of commands, and their window, a day, bounds that index; an event is written beside its "
        "actor's last, wherever that is). What breaks it: the window of answers (`RUNTIME_INBOX_WINDOW_S`), the "
        "archive of old segments, and Postgres servers by partition."
    )


def _length(measured: Measured) -> str:
    one = measured["length"]
    return (
        f"**One actor's log.** Without snapshots a million events take {one['folded_ms'].at(1e6) / 1000:.1f} s to "
        f"become a state, ten million by the same law {one['folded_ms'].at(1e7) / 1000:.0f} s, while other actors go "
        f"on and this one's commands wait. With them it is {one['snapshot_ms'].at(1e6):.0f} ms at any length "
        "measured. The wall is the size of the state, not of its log."
    )


def _partitions(measured: Measured) -> str:
    one = measured["partitions"]
    idle, broker = one["idle_nats_share"], one["nats_us"]
    half = (50 - idle.base) / idle.slope if idle.form == "linear" and idle.slope > 0 else None
    reach = f"half a core at rest at {about(half)}" if half else "no measurable part of a core at rest"
    return (
        f"**Partitions.** Each lane is a consumer that the broker keeps alive: by the law above they take {reach} "
        "lanes a stream (one pod or many: a lane is read once a group), and a command costs the broker "
        f"{broker.at(32):.0f} µs at 32 and {broker.at(512):.0f} µs at 512, since fewer commands come in one "
        "delivery. Partitions bound the pods of a group; 128 serve as many pods, and above 512 the broker's own "
        "work for them is the wall. More are made of several streams."
    )


def _pods(measured: Measured) -> str:
    one = measured["pods"]
    connections = one["connections"].at(1)
    rates = {name: CORE_US / one[f"{name}_us"].at(1) for name in ("pod", "nats", "postgres")}
    text = (
        f"**Pods.** A pod is one core of Python: {about(rates['pod'])} commands a second at the cost measured. A "
        f"core of the broker carries {about(rates['nats'])} and a core of Postgres {about(rates['postgres'])}, so "
        f"that one of each of these feeds {min(rates['nats'], rates['postgres']) / rates['pod']:.1f} pods; both use "
        f"several. A pod holds {connections:.0f} connections to Postgres: its default of {MAX_CONNECTIONS} is full "
        f"at {MAX_CONNECTIONS // max(connections, 1):.0f} pods, and is to be raised with them."
    )
    if "wal_bytes" in one:
        wal = one["wal_bytes"].at(1)
        text += (
            f" A command writes {about(wal)} bytes of WAL: a disk of {DISK_MB_S:.0f} MB/s takes "
            f"{about(DISK_MB_S * 1e6 / wal)} commands a second, whatever the number of pods. Behind that stand "
            "Postgres servers by partition, one commit pipeline a pod and server."
        )
    return text


def _tenants(measured: Measured) -> str:
    one = measured["tenants"]
    grown = one["pod_us"].at(1e4) / max(one["pod_us"].at(1), 1e-9)
    return (
        "**Tenants.** A tenant is part of an address and nothing else that a pod keeps: ten thousand cost a pod "
        f"{grown:.2f} times what one does, with ten times the keys. What grows with them is at the edge: a gateway "
        "keeps two subscriptions for each tenant that it has spoken for."
    )


_TEXTS: dict[str, Callable[[Measured], str]] = {
    "watching": _watching,
    "shared": _shared,
    "keys": _keys,
    "length": _length,
    "partitions": _partitions,
    "pods": _pods,
    "tenants": _tenants,
}

_MAP = (
    "**Past one stream and one Postgres.** Which partition lives in which stream and on which Postgres server is "
    "for the map of places to say, and where old segments of the log go for the archive: "
    "[operations](operations.md) has both."
)
