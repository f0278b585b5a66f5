"""One sample of everything that must stay bounded, by the names that bounds.py knows."""

from __future__ import annotations

import re
import time
import urllib.request
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime

import msgspec
import nats
import nats.errors
import psutil
import psycopg
from nats.js.errors import Error as JetStreamError

from schemas.subjects import EV_STREAM
from tests.support.system import System

MIB = 2.0**20
LEAST_EVENTS = 500
"""Before that many, what an empty table and its indexes have is most of it."""

MORE_LOOKS = 5
LOOK_AGAIN_S = 0.5
"""Of open files the least of several looks counts, while faults make connections come and go."""

METRICS_PORTS = 32
"""How many ports a pod tries; see docs/observability.md."""

TABLES = """
SELECT c.relname,
       coalesce((SELECT sum(pg_total_relation_size(t.relid)) FROM pg_partition_tree(c.oid) t)::bigint,
                pg_total_relation_size(c.oid))
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'troupe' AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY c.relname
"""
CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
WAL = "SELECT coalesce(sum(size), 0)::bigint FROM pg_ls_waldir()"
OLD_PODS = "SELECT count(*) FROM pods WHERE expires_at < clock_timestamp() - interval '66 minutes'"


def take(system: System, elder: int, metrics_port: int) -> dict[str, float]:
    """A sample of now. What cannot be asked at the moment, since a fault has taken its server away, is left out.

    Args:
        elder: the pid of the pod that lives through the run.
        metrics_port: where pods begin to look for a free one.
    """
    looks = [_processes(elder)]
    for _ in range(MORE_LOOKS):
        time.sleep(LOOK_AGAIN_S)
        looks.append(_processes(elder))
    found = looks[-1] | _tasks(metrics_port, elder)
    for name in [name for name in looks[-1] if name.endswith(" open files")]:
        found[name] = min(look[name] for look in looks if name in look)
    with suppress(psycopg.Error):
        found |= _tables(system)
    return found


# -- processes --------------------------------------------------------------------------------------------------------


def _processes(elder: int) -> dict[str, float]:
    roles: dict[str, list[psutil.Process]] = {}
    callers = [psutil.Process()]
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            role = "elder pod" if process.pid == elder else _role(process)
            if role:
                roles.setdefault(role, []).append(process)
            else:
                callers.append(process)
    found: dict[str, float] = {}
    for role, processes in roles.items():
        with suppress(psutil.Error):
            found |= _of_postgres(processes) if role == "postgres" else _of_role(role, processes)
    if gateways := roles.get("gateway"):
        with suppress(psutil.Error):
            found["gateway open files"] = max(process.num_fds() - held(process, callers) for process in gateways)
    return found


def held(process: psutil.Process, callers: Iterable[psutil.Process]) -> int:
    """How many of its connections callers hold at their end: they keep as many as they once needed at the same time."""
    ends = {(one.laddr, one.raddr) for caller in callers for one in caller.net_connections("tcp") if one.raddr}
    return sum((one.raddr, one.laddr) in ends for one in process.net_connections("tcp") if one.raddr)


def _role(process: psutil.Process) -> str | None:
    name, line = process.name(), process.cmdline()
    if name.startswith("nats-server"):
        return "nats-server"
    if name.startswith("postgres"):
        return "postgres"
    if "gateway" in line[:3]:
        return "gateway"
    return "other pods" if "runtime.host.process" in line else None


def _of_role(role: str, processes: Iterable[psutil.Process]) -> dict[str, float]:
    """The largest value over the processes of a role."""
    rows = [(one.memory_info().rss / MIB, one.num_fds(), one.num_threads()) for one in processes]
    memory, files, threads = (float(max(column)) for column in zip(*rows, strict=True))
    found = {f"{role} memory MB": memory, f"{role} open files": files, f"{role} threads": threads}
    if role == "nats-server":
        established = [one for process in processes for one in process.net_connections("tcp") if one.raddr]
        found["nats-server connections"] = float(len(established))
    return found


def _of_postgres(processes: list[psutil.Process]) -> dict[str, float]:
    """All processes of the server together, without the buffers that they share, which fill up to their size.

    (`uss` would count those buffers that only one process has used.)
    """
    memory = files = 0.0
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            info = process.memory_info()
            memory += (info.rss - info.shared) / MIB
            files += process.num_fds()
    return {
        "postgres private memory MB": memory, "postgres open files": files, "postgres processes": float(len(processes))
    }  # fmt: skip


def _tasks(first_port: int, elder: int) -> dict[str, float]:
    """Tasks of the elder's event loop, by its own metrics."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for port in _listening(elder) & set(range(first_port, first_port + METRICS_PORTS)):
        with suppress(OSError):
            text = opener.open(f"http://127.0.0.1:{port}/metrics", timeout=2).read().decode()
            if tasks := re.search(r"^troupe_tasks\{.*\} ([0-9.e+]+)$", text, re.MULTILINE):
                return {"elder pod tasks": float(tasks[1])}
    return {}


def _listening(pid: int) -> set[int]:
    with suppress(psutil.Error):
        connections = psutil.Process(pid).net_connections("tcp")
        return {one.laddr.port for one in connections if one.status == psutil.CONN_LISTEN}
    return set()


# -- the log ----------------------------------------------------------------------------------------------------------


def _tables(system: System) -> dict[str, float]:
    with psycopg.connect(system.postgres_url, options="-c search_path=troupe -c statement_timeout=20s") as connection:
        found: dict[str, float] = {}
        for table, size in connection.execute(TABLES).fetchall():
            rows = connection.execute(f'SELECT count(*) FROM "{table}"').fetchall()[0][0]
            found[f"table {table} rows"] = float(rows)
            found[f"table {table} MB"] = float(size) / MIB
        events = found.get("table events rows", 0.0)
        if events >= LEAST_EVENTS:
            found["bytes an event"] = found["table events MB"] * MIB / events
        for name, statement in (("postgres connections", CONNECTIONS), ("pods older than that", OLD_PODS)):
            found[name] = float(connection.execute(statement).fetchall()[0][0])
        found["postgres WAL MB"] = float(connection.execute(WAL).fetchall()[0][0]) / MIB
        return found


# -- the broker -------------------------------------------------------------------------------------------------------


class _State(msgspec.Struct):
    messages: int
    bytes: int
    consumer_count: int = 0
    first_ts: str = ""


class _Config(msgspec.Struct):
    name: str


class _Stream(msgspec.Struct):
    config: _Config
    state: _State
    ts: str = ""


class _Page(msgspec.Struct):
    streams: list[_Stream] | None = None


async def streams(url: str) -> dict[str, float]:
    """A sample of the broker's streams; empty while it cannot be asked."""
    try:
        connection = await nats.connect(url, allow_reconnect=False, connect_timeout=2)
    except (nats.errors.Error, OSError, TimeoutError):
        return {}
    try:
        answer = await connection.request("$JS.API.STREAM.LIST", b"", timeout=5)
        return _of_streams(msgspec.json.decode(answer.data, type=_Page).streams or [])
    except (nats.errors.Error, JetStreamError, OSError, TimeoutError):
        return {}
    finally:
        with suppress(nats.errors.Error, OSError, TimeoutError):
            await connection.close()


def _of_streams(found: Iterable[_Stream]) -> dict[str, float]:
    values: dict[str, float] = {}
    for stream in found:
        name, state = stream.config.name, stream.state
        values[f"stream {name} messages"] = float(state.messages)
        values[f"stream {name} MB"] = state.bytes / MIB
        values[f"stream {name} consumers"] = float(state.consumer_count)
        if name == EV_STREAM and state.messages and stream.ts:
            values["age of the oldest fact min"] = _minutes(state.first_ts, stream.ts)
    return values


def _minutes(earlier: str, later: str) -> float:
    first, last = (datetime.fromisoformat(_micro(text)) for text in (earlier, later))
    return (last - first).total_seconds() / 60


def _micro(text: str) -> str:
    """RFC 3339 with at most microseconds."""
    return re.sub(r"(\.\d{6})\d+", r"\1", text)


def series_of(samples: Iterable[tuple[float, Mapping[str, float]]]) -> dict[str, list[tuple[float, float]]]:
    """name → (minutes, value), of samples (minutes, name → value)."""
    found: dict[str, list[tuple[float, float]]] = {}
    for at, sample in samples:
        for name, value in sample.items():
            found.setdefault(name, []).append((at, value))
    return found
