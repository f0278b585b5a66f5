"""The main job, for real: `make demo`.

Starts NATS and Postgres, two pods, a gateway and an intake; posts intents over HTTP and publishes commands and intents
straight to NATS subjects; follows the live stream of a session; kills one pod with SIGKILL half-way; and counts, from
Postgres, what was acknowledged, counted, and counted twice. Exit code 0 only when every acknowledged command was
counted exactly once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import nats
import nats.errors
import psycopg
from nats.aio.msg import Msg

from runtime.infra import Endpoints, resolve

ROOT = Path(__file__).parents[1]
SECONDS = 10.0
TILLS = 200
HTTP_CALLERS = 24
NATS_IN_FLIGHT = 48
SESSION = "demo"
PARTITIONS = 16
ATTEMPT_S = 2.0
PATIENCE_S = 30.0
ACKNOWLEDGED_BY = {"HTTP": "the answer over HTTP", "NATS": "the reply over NATS", "intent": "the broker, as intents"}


class Tally:
    """What the demo's clients were told: the ids of acknowledged commands, by the way they came."""

    def __init__(self) -> None:
        self.acknowledged: dict[str, list[str]] = {"HTTP": [], "NATS": [], "intent": []}
        self.repeats = 0
        self.longest_wait_s = 0.0
        self.streamed = 0

    def note(self, way: str, id_: str, waited_s: float) -> None:
        """Counts an acknowledged command."""
        self.acknowledged[way].append(id_)
        self.longest_wait_s = max(self.longest_wait_s, waited_s)

    @property
    def total(self) -> int:
        """All acknowledged commands."""
        return sum(map(len, self.acknowledged.values()))


def say(text: str) -> None:
    """Prints a line at once."""
    print(text, flush=True)


@contextlib.contextmanager
def process(endpoints: Endpoints, *command: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """A child process of this Python, and the JSON line it prints when it is up."""
    environment = {
        **os.environ,
        "RUNTIME_NATS_URL": endpoints.nats_url,
        "RUNTIME_POSTGRES_URL": endpoints.postgres_url,
        "RUNTIME_PARTITIONS": str(PARTITIONS),
        "RUNTIME_LOG_LEVEL": "ERROR",
    }
    arguments = [sys.executable, "-m", *command]
    child = subprocess.Popen(arguments, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        line = child.stdout.readline()
        if not line:
            raise SystemExit(f"{' '.join(command)} ended with exit code {child.wait()} before it was up")
        yield child, json.loads(line)
    finally:
        if child.poll() is None:
            child.terminate()
        try:
            child.wait(15)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        assert child.stdout is not None
        child.stdout.close()


class Http:
    """One keep-alive connection to the gateway."""

    def __init__(self, url: str) -> None:
        self._host, self._port = urlsplit(url).hostname, urlsplit(url).port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post_intent(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """POST /intent; gives status and body."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port)
        reader, writer = self._streams
        payload = json.dumps(body).encode()
        head = (
            "POST /intent HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(payload)}\r\n\r\n"
        )
        writer.write(head.encode() + payload)
        status = int((await reader.readuntil(b"\r\n")).split()[1])
        length = 0
        while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        return status, json.loads(await reader.readexactly(length))

    def close(self) -> None:
        """Closes the connection."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def call_over_http(url: str, number: int, stop: asyncio.Event, tally: Tally) -> None:
    """Posts intents, one after the other; the same id again until it is answered."""
    http = Http(url)
    count = 0
    while not stop.is_set():
        count += 1
        id_ = f"web-{number}-{count}"
        till = f"till-{(number * 31 + count) % TILLS}"
        body = {"kind": "till", "key": till, "method": "sell", "args": {"cents": count}, "id": id_, "wait_s": 10}
        if count % 20 == 0:
            body["session"] = SESSION
        started = time.monotonic()
        while True:
            try:
                async with asyncio.timeout(15):
                    status, answer = await http.post_intent(body)
                if status in (400, 401, 403, 404):
                    raise RuntimeError(f"the gateway refused intent {id_}: {answer}")
            except (OSError, TimeoutError, asyncio.IncompleteReadError):
                http.close()
                status = 0
            if status == 200:
                break
            tally.repeats += 1
            await asyncio.sleep(0.1)
        tally.note("HTTP", id_, time.monotonic() - started)
    http.close()


async def call_over_nats(url: str, stop: asyncio.Event, tally: Tally) -> None:
    """Publishes commands with nothing but a NATS client: address in the subject, arguments in the body."""
    connection = await nats.connect(url, inbox_prefix=b"_INBOX.default", max_reconnect_attempts=-1)
    inbox = connection.new_inbox()
    waiting: dict[str, asyncio.Event] = {}

    async def on_reply(message: Msg) -> None:
        answered = waiting.get(json.loads(message.data)["id"])
        if answered is not None:
            answered.set()

    await connection.subscribe(inbox, cb=on_reply)

    async def caller(number: int) -> None:
        count = 0
        while not stop.is_set():
            count += 1
            id_ = f"nats-{number}-{count}"
            answered = waiting[id_] = asyncio.Event()
            subject = f"cmd.default.till.till-{(number * 17 + count) % TILLS}.sell"
            started = time.monotonic()
            while not answered.is_set():
                headers = {"Troupe-Id": id_, "Troupe-Reply": inbox}
                await connection.publish(subject, b'{"cents":%d}' % count, headers=headers)
                try:
                    async with asyncio.timeout(ATTEMPT_S):
                        await answered.wait()
                except TimeoutError:
                    tally.repeats += 1
            del waiting[id_]
            tally.note("NATS", id_, time.monotonic() - started)

    await asyncio.gather(*[caller(number) for number in range(NATS_IN_FLIGHT)])
    await connection.close()


async def say_intents(url: str, stop: asyncio.Event, tally: Tally) -> None:
    """Publishes intents to `intent.<tenant>.<session>`: acknowledged once the broker has stored them."""
    connection = await nats.connect(url, max_reconnect_attempts=-1)
    js = connection.jetstream()
    count = 0
    while not stop.is_set():
        count += 1
        id_ = f"intent-{count}"
        intent = {"kind": "till", "key": f"till-{count % TILLS}", "method": "sell", "args": {"cents": 1}, "id": id_}
        started = time.monotonic()
        while True:
            try:
                await js.publish(f"intent.default.{SESSION}", json.dumps(intent).encode())
                break
            except nats.errors.Error:
                tally.repeats += 1
        tally.note("intent", id_, time.monotonic() - started)
        await asyncio.sleep(0.05)
    await connection.close()


async def follow_stream(url: str, tally: Tally) -> None:
    """Follows the session's stream over SSE, and shows the first few events."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(f"GET /stream/{SESSION} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n".encode())
    try:
        while line := await reader.readline():
            if line.startswith(b"data: {"):
                tally.streamed += 1
                if tally.streamed <= 3:
                    fact = json.loads(line[6:])
                    say(f"  live stream: {fact['type']} {fact['name']} of {fact['kind']}/{fact['key']}")
    finally:
        writer.close()


async def run(endpoints: Endpoints, url: str, victim: subprocess.Popen[str], tally: Tally) -> float:
    """Loads the system and kills a pod half-way; gives the seconds it took."""
    stop = asyncio.Event()
    stream = asyncio.ensure_future(follow_stream(url, tally))
    started = time.monotonic()
    callers = [call_over_http(url, number, stop, tally) for number in range(HTTP_CALLERS)]
    work = asyncio.gather(
        *callers, call_over_nats(endpoints.nats_url, stop, tally), say_intents(endpoints.nats_url, stop, tally)
    )
    await asyncio.sleep(SECONDS / 2)
    say(f"  {tally.total:,} commands acknowledged so far; now the pod with pid {victim.pid} is killed with SIGKILL:")
    say("  half of the tills wait until its lease has run out, then go on in the other pod")
    victim.kill()
    await asyncio.sleep(SECONDS / 2)
    stop.set()
    async with asyncio.timeout(PATIENCE_S):
        await work
    elapsed = time.monotonic() - started
    await all_relayed(endpoints, tally)
    stream.cancel()
    return elapsed


async def all_relayed(endpoints: Endpoints, tally: Tally) -> None:
    """Waits until the last intent that the broker acknowledged has reached its actor."""
    last = tally.acknowledged["intent"][-1:]
    end = time.monotonic() + PATIENCE_S
    while last and time.monotonic() < end:
        if select(endpoints, "SELECT count(*) FROM inbox WHERE command_id = ANY(%s)", last)[0] == 1:
            return
        await asyncio.sleep(0.1)


def select(endpoints: Endpoints, statement: str, *parameters: Any) -> tuple[Any, ...]:
    """One row from Postgres."""
    with psycopg.connect(endpoints.postgres_url, options="-c search_path=troupe -c role=troupe_pod") as connection:
        row = connection.execute(statement, parameters).fetchone()
        assert row is not None
        return tuple(row)


def report(endpoints: Endpoints, tally: Tally, elapsed_s: float) -> bool:
    """Prints what Postgres says; True when every acknowledged command was counted exactly once."""
    ids = [id_ for ids in tally.acknowledged.values() for id_ in ids]
    acknowledged, counted, twice = select(
        endpoints,
        """
        WITH told AS (SELECT unnest(%s::text[]) AS command_id),
             times AS (SELECT t.command_id, count(e.command_id) AS n
                       FROM told t LEFT JOIN events e ON e.command_id = t.command_id AND e.type = 'Sold'
                       GROUP BY t.command_id)
        SELECT count(*), count(*) FILTER (WHERE n > 0), count(*) FILTER (WHERE n > 1) FROM times
        """,
        ids,
    )
    folded = select(endpoints, "SELECT count(*), count(DISTINCT actor) FROM events WHERE type = 'Sold'")
    say("")
    say("what callers were told:")
    for way, came in tally.acknowledged.items():
        say(f"  {len(came):>8,} commands acknowledged by {ACKNOWLEDGED_BY[way]}")
    say(f"  {tally.streamed:>8,} facts seen on the live stream")
    say(f"  {tally.repeats:>8,} commands asked again under their id; the longest wait was {tally.longest_wait_s:.2f} s")
    say("what Postgres holds:")
    say(f"  {folded[0]:>8,} events of {folded[1]} actors")
    say("")
    say(f"acknowledged {acknowledged}, counted {counted}, counted twice {twice}")
    say(f"{acknowledged / elapsed_s:,.0f} commands a second over {elapsed_s:.1f} s, one pod of two killed on the way")
    return bool(acknowledged and acknowledged == counted and twice == 0)


def main() -> int:
    """Runs the demo; gives the exit code."""
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="troupe-demo-")))
        endpoints = stack.enter_context(resolve(directory))
        how = "embedded, in an empty directory" if endpoints.embedded else "as given"
        say(f"NATS and Postgres are up ({how}; {time.monotonic() - started:.1f} s)")
        pods = [
            stack.enter_context(process(endpoints, "runtime.host.process", "examples.demo_actors")) for _ in range(2)
        ]
        _, gateway = stack.enter_context(process(endpoints, "gateway", "--port", "0"))
        stack.enter_context(process(endpoints, "actors.intake"))
        names = " and ".join(f"{line['pod']} (pid {line['pid']})" for _, line in pods)
        say(f"two pods are up: {names}; with a gateway at {gateway['url']} and an intake of intents")
        say(
            f"for {SECONDS:.0f} s, {HTTP_CALLERS} callers over HTTP, {NATS_IN_FLIGHT} in plain NATS and one that "
            f"publishes intents sell in {TILLS} tills; a session is watched meanwhile"
        )
        tally = Tally()
        elapsed_s = asyncio.run(run(endpoints, gateway["url"], pods[0][0], tally))
        return 0 if report(endpoints, tally, elapsed_s) else 1


if __name__ == "__main__":
    sys.exit(main())
