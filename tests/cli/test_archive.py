"""`runtime log archive`, `segments` and `restore`, by a person and by a script."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from tests.cli.command import Runtime
from tests.support.kinds import Add, cart, counter
from tests.support.system import KINDS, System, run

KEYS = [f"k{n}" for n in range(6)]


def fill(system: System, times: int) -> None:
    """Counts each key up, and puts something into a basket."""

    async def scenario() -> None:
        async with system.pod(counter, cart), system.client() as client:
            for _ in range(times):
                await asyncio.gather(*[client.ask(counter, key, Add(1), timeout_s=60) for key in KEYS])
            await client.ask(cart, "basket", "put", {"item": "x"})

    run(scenario())


def exported(runtime: Runtime) -> list[Any]:
    """The whole log, as a person exports it."""
    return runtime.ok("log", "export").lines


def test_given_a_log_when_it_is_archived_checked_and_restored_then_it_is_the_same_log_at_each_time(
    system: System, tmp_path: Path
) -> None:
    fill(system, 30)
    runtime = Runtime(system.environment(), tmp_path)
    to = (tmp_path / "archive").as_uri()
    system.start_pod()
    before = exported(runtime)
    assert len(before) == 30 * len(KEYS) + 1

    done = runtime.ok("log", "archive", KINDS, "--kind", "counter", "--keep-events", "10", "--older-than", "0s",
                      "--to", to, "--json")  # fmt: skip
    assert done.json["archived"]["counter"]["events"] == 20 * len(KEYS)
    assert system.sql("SELECT count(*) FROM events") == [(10 * len(KEYS) + 1,)]
    assert exported(runtime) == before
    shown = runtime.ok("log", "show", "counter", "k3", "--from", "15", "--json").json["events"]
    assert [event["seq"] for event in shown] == list(range(15, 31))

    listed = runtime.ok("log", "segments", "--check", "--json").json
    assert sum(one["events"] for one in listed["segments"]) == 20 * len(KEYS)
    assert listed["unrecorded"] == []
    assert "archived" in runtime.ok("log", "segments", "--kind", "counter").out

    words = ("log", "archive", KINDS, "--kind", "counter", "--older-than", "0s", "--to", to)
    again = runtime.ok(*words, "--keep-events", "5")
    assert "counter" in again.out
    first = listed["segments"][0]["id"]
    refused = runtime("log", "restore", "--segment", str(first))
    assert (refused.code, "restore that one first" in refused.err) == (4, True)
    back = runtime.ok("log", "restore", "--kind", "counter", "--json")
    assert back.json["events"] == 25 * len(KEYS)
    assert system.sql("SELECT count(*) FROM events") == [(len(before),)]
    assert system.sql("SELECT count(*) FROM archived") == [(0,)]
    assert exported(runtime) == before
    assert len(runtime.ok("log", "segments", "--check", "--json").json["unrecorded"]) == 0

    more = runtime.ok(*words, "--keep-events", "10")
    assert "counter" in more.out
    assert exported(runtime) == before


def test_given_a_damaged_segment_and_a_stray_file_when_checked_then_both_are_named(
    system: System, tmp_path: Path
) -> None:
    fill(system, 12)
    runtime = Runtime(system.environment(), tmp_path)
    words = ("log", "archive", KINDS, "--kind", "counter", "--keep-events", "1", "--older-than", "0s")
    runtime.ok(*words, "--to", (tmp_path / "archive").as_uri())
    files = sorted((tmp_path / "archive").rglob("*.gz"))
    spoiled = bytearray(files[0].read_bytes())
    spoiled[-9] ^= 1
    files[0].write_bytes(spoiled)
    stray = files[-1].with_name("counter-1-2-0000000000000000.jsonl.gz")
    stray.write_bytes(b"")
    checked = runtime("log", "segments", "--check")
    assert checked.code == 1
    assert files[0].name in checked.err
    assert "damaged" in checked.err
    assert f"no segment is {stray.as_uri()}" in checked.out
    damaged = runtime("log", "restore", "--kind", "counter", "--json")
    assert damaged.code == 1
    assert files[0].name in damaged.err


def test_given_words_that_cannot_work_when_archiving_then_it_is_said_what_to_do(
    system: System, tmp_path: Path
) -> None:
    fill(system, 1)
    runtime = Runtime(system.environment(), tmp_path)
    for words, hint in (
        (("archive", KINDS), "--to file:///"),
        (("archive", KINDS, "--to", "ftp://x/y", "--kind", "counter"), "names no archive"),
        (("archive", KINDS, "--to", tmp_path.as_uri()), "--kind"),
        (("archive", KINDS, "--to", tmp_path.as_uri(), "--kind", "nobody"), "they have cart, "),
        (("archive", KINDS, "--to", tmp_path.as_uri(), "--kind", "cart", "--older-than", "soon"), "is no time"),
        (("restore",), "--segment NUMBER"),
    ):
        ended = runtime("log", *words)
        assert (ended.code, hint in ended.err) == (2, True), (words, ended)
    gone = runtime("log", "restore", "--segment", "7")
    assert (gone.code, "no segment 7" in gone.err) == (3, True)
