"""The archive in object storage: a server that speaks S3, and the library that pods use for it."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import obstore
import pytest
from obstore.store import from_url

from runtime.archive.stores import SegmentMissing, open_store
from runtime.errors import CallFailed, Misconfigured, NotConnected, UnreadableSegment
from tests.host.test_archive import KEYS, actor_of, count_up, exactly_once
from tests.support.archiving import archive
from tests.support.kinds import Add, counter
from tests.support.system import System, run

BUCKET = "s3://troupe-archive/logs"
UP_S = 120.0


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def ask(url: str, method: str = "GET") -> bytes:
    """What the server answers, without credentials: this one wants none."""
    with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=30) as answer:
        return bytes(answer.read())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An S3 server with a bucket."""
    url = f"http://127.0.0.1:{(port := free_port())}"
    said = (tmp_path_factory.mktemp("s3") / "log").open("wb")
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=said, stderr=said)
    try:
        end = time.monotonic() + UP_S
        while True:
            try:
                ask(f"{url}/troupe-archive", "PUT")
                break
            except (urllib.error.URLError, ConnectionError):
                assert process.poll() is None and time.monotonic() < end, "the S3 server does not answer"
                time.sleep(0.1)
        yield url
    finally:
        process.kill()
        process.wait()
        said.close()


@pytest.fixture
def reachable(server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The environment of whoever uses it; gives its URL."""
    for name, value in {
        "AWS_ENDPOINT_URL": server,
        "AWS_ACCESS_KEY_ID": "me",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "eu-central-1",
        "AWS_ALLOW_HTTP": "true",
    }.items():
        monkeypatch.setenv(name, value)
    return server


def test_given_a_bucket_when_segments_are_put_and_got_then_it_is_as_with_files(reachable: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        for url in (BUCKET, tmp_path.as_uri()):
            store = open_store(url)
            await store.put("log/0/a.jsonl.gz", b"first")
            await store.put("log/0/a.jsonl.gz", b"0123456789")
            await store.put("log/1/b.jsonl.gz", b"")
            assert await store.get("log/0/a.jsonl.gz") == b"0123456789"
            assert await store.get("log/0/a.jsonl.gz", 3, 4) == b"3456"
            assert await store.get("log/0/a.jsonl.gz", 8, 40) == b"89"
            assert await store.get("log/1/b.jsonl.gz") == b""
            assert await store.names("log/") == ["log/0/a.jsonl.gz", "log/1/b.jsonl.gz"]
            assert await store.names("nothing/") == []
            for place in ((), (1, 2)):
                with pytest.raises(SegmentMissing):
                    await store.get("log/0/none.jsonl.gz", *place)

    run(scenario())


def test_given_events_in_a_bucket_when_the_log_is_read_and_actors_are_loaded_then_nothing_has_changed(
    reachable: str, system: System, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with archive(system, tmp_path, open_store(BUCKET)) as there:
            async with system.pod(counter), system.client() as client:
                await count_up(client, 20)
                before = await there.log()
                assert (await there.away(counter)).events == 15 * len(KEYS)
                exactly_once(before)
                assert await there.log(limit=9) == before
            assert there.files == []
            system.sql("DELETE FROM snapshots")
            async with system.pod(counter), system.client() as client:
                counts = await asyncio.gather(*[client.ask(counter, key, Add(1), timeout_s=60) for key in KEYS])
                assert set(counts) == {21}
            ((number, name),) = system.sql("SELECT id, name FROM segments WHERE lane = %s", actor_of("k0")[1])
            obstore.delete(from_url(BUCKET), name)
            system.sql("DELETE FROM snapshots")
            async with system.pod(counter), system.client() as client:
                with pytest.raises(CallFailed, match=f"segment {number}, {BUCKET}/{name}"):
                    await client.ask(counter, "k0", Add(1), timeout_s=60)
            with pytest.raises(UnreadableSegment, match=f"segment {number}, "):
                async for _ in there.reader.stored(*actor_of("k0"), 0):
                    pass

    run(scenario())


def test_given_a_bucket_that_cannot_be_reached_or_a_url_of_nothing_then_it_is_said_which(
    reachable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("AWS_MAX_RETRIES", "0")
    store = open_store(BUCKET)
    with pytest.raises(NotConnected, match=BUCKET):
        run(asyncio.wait_for(store.get("log/0/a.jsonl.gz"), 120))
    for url in ("ftp://host/x", "/just/a/path", "file://elsewhere/x"):
        with pytest.raises(Misconfigured, match="names no archive"):
            open_store(url)
