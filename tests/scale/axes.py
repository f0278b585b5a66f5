"""What the report shows of each axis: its words, the figures in its table, and which of them are drawn together."""

from __future__ import annotations

from typing import NamedTuple


class Figure(NamedTuple):
    """One column of a table. `factor` makes the shown unit of the measured one; the law is of figures that have one."""

    name: str
    label: str
    unit: str
    factor: float = 1.0
    law: bool = True
    floor: float = 0.0
    """Less than that, in the shown unit, is no growth, however small the figure."""


class Axis(NamedTuple):
    """One axis."""

    name: str
    title: str
    size: str
    how: str
    figures: tuple[Figure, ...]
    pictures: tuple[tuple[str, tuple[str, ...]], ...]
    """(title, names of figures)."""


COMMAND = (
    Figure("pod_us", "pod", "µs"),
    Figure("nats_us", "nats-server", "µs"),
    Figure("postgres_us", "Postgres", "µs"),
    Figure("clients_us", "callers", "µs"),
    Figure("p50_ms", "p50, one in flight", "ms"),
    Figure("wal_bytes", "WAL", "bytes"),
)
COMMAND_PICTURES = (
    ("CPU a command, µs", ("pod_us", "nats_us", "postgres_us", "clients_us")),
    ("p50, one in flight, ms", ("p50_ms",)),
)
IDLE = (
    Figure("idle_pod_share", "pod, idle", "% of a core", 100, floor=1.0),
    Figure("idle_nats_share", "nats-server, idle", "% of a core", 100, floor=1.0),
    Figure("idle_postgres_share", "Postgres, idle", "% of a core", 100, floor=1.0),
)
STREAM = (
    Figure("connect_s", "all connected after", "s", law=False),
    Figure("connect_cpu_us", "gateway to connect one", "µs"),
    Figure("gateway_kib", "gateway's memory a client", "KiB"),
    Figure("nats_kib", "nats-server's memory a client", "KiB", law=False),
    Figure("idle_gateway_share", "gateway, idle", "% of a core", 100, floor=1.0),
    Figure("idle_nats_share", "nats-server, idle", "% of a core", 100, floor=1.0),
    Figure("facts_per_s", "facts a second", "/s", law=False),
    Figure("fact_gateway_us", "gateway a fact delivered", "µs"),
    Figure("fact_nats_us", "nats-server a fact delivered", "µs"),
    Figure("answer_p50_ms", "the commands' answers p50", "ms", law=False),
    Figure("answer_p99_ms", "the commands' answers p99", "ms", law=False),
    Figure("delay_p50_ms", "delay p50", "ms", law=False),
    Figure("delay_p99_ms", "delay p99", "ms", law=False),
)

AXES = (
    Axis(
        "watching", "Sessions that are watched, each by one client", "clients",
        "So many SSE clients on one gateway process, each a TCP connection that watches a session of its own; "
        "commands in these sessions come at 500 a second, and each gives two facts. Every client got every fact of "
        "its session once and in order, or the piece would have failed. The delay is from the turn, before its "
        "commit, to the client; nats-server's time a fact holds its part of the command and of storing the fact.",
        STREAM,
        (("memory a client, KiB", ("gateway_kib", "nats_kib")),
         ("CPU a fact, µs", ("fact_gateway_us", "fact_nats_us"))),
    ),
    Axis(
        "shared", "One session that many watch", "clients",
        "The same clients, all of the same session: each fact goes to all of them. The delay is until the client in "
        "question has it; the last one waits for all before it.",
        STREAM,
        (("CPU a fact delivered, µs", ("fact_gateway_us", "fact_nats_us")),
         ("delay, ms", ("delay_p50_ms", "delay_p99_ms"))),
    ),
    Axis(
        "keys", "Rows in the log", "events",
        "So many events and as many recorded answers, ten of each actor, are there before the commands come. A pod "
        "wrote the first of them, the rest are its rows with another address, position and number; a sample of "
        "actors, each loaded by a pod, had the state of its events, and old commands sent again got their recorded "
        "answers. `cold` is a command to an actor that is not in memory. A snapshot is taken every 200 events, so "
        "that these have none. The tables are vacuumed before.",
        (*COMMAND, Figure("cold_p50_ms", "p50 of a cold actor", "ms"),
         Figure("whole_reads", "whole tables read by 600 commands", "", law=False), IDLE[2],
         Figure("bytes_an_event", "disk an event, all tables", "bytes", law=False)),
        (*COMMAND_PICTURES, ("p50 of a cold actor, ms", ("cold_p50_ms",))),
    ),
    Axis(
        "length", "The log of one actor", "events",
        "How long the first read of an actor takes in a pod that has just started, and the pod's processor time for "
        "it: without snapshots, and with the default (one every 200 events, taken beside the turns).",
        (Figure("folded_ms", "without snapshot", "ms"), Figure("folded_pod_ms", "pod, without", "ms"),
         Figure("snapshot_ms", "with snapshot", "ms"), Figure("snapshot_pod_ms", "pod, with", "ms")),
        (("first read, ms", ("folded_ms", "snapshot_ms")),),
    ),
    Axis(
        "partitions", "Partitions", "partitions",
        "One pod that owns all lanes, each with a consumer of its own in the broker. `taken` is from an empty "
        "database to the last lane owned, the pod's start included.",
        (*COMMAND, *IDLE, Figure("taken_s", "taken", "s"), Figure("nats_mib", "nats-server's memory", "MiB"),
         Figure("pod_mib", "pod's memory", "MiB")),
        (*COMMAND_PICTURES, ("idle, % of a core", tuple(one.name for one in IDLE))),
    ),
    Axis(
        "pods", "Pods", "pods",
        "So many pods on this one machine. Only the cost a command and at rest carries over to others: what they do "
        "side by side here, they do on the same cores.",
        (*COMMAND, *IDLE, Figure("connections", "connections to Postgres a pod", "", law=False)),
        (*COMMAND_PICTURES, ("idle, % of a core", tuple(one.name for one in IDLE))),
    ),
    Axis(
        "tenants", "Tenants", "tenants",
        "A thousand keys or more, spread over so many tenants, and one calling process with a client for each tenant.",
        COMMAND, COMMAND_PICTURES,
    ),
)  # fmt: skip
