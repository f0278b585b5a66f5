"""A walk over all commands: each works with --json, refuses what it does not know, and says when it cannot."""

from __future__ import annotations

import asyncio
import json
import signal
import tempfile
from pathlib import Path
from typing import Any

import pytest

from runtime.errors import CallFailed
from schemas.approvals import KIND as APPROVAL
from schemas.approvals import Run, Spec
from schemas.runs import encode_run_id
from tests.cli.command import Runtime
from tests.cli.test_usage import ALL
from tests.support.patience import PATIENCE_S
from tests.support.system import KINDS, ROOT, System, until

Words = tuple[str, ...]

RUNNING = encode_run_id("clerk", "walked", "walked")
STUCK = encode_run_id("clerk", "stuck", "stuck")
PARKED = encode_run_id("clerk", "parked", "parked")
FORKED = encode_run_id("clerk", "forked", "forked")

ENDING: dict[str, Words] = {
    "actors call": ("counter", "walked", "add", "amount=2", "--id", "one"),
    "actors describe": ("counter", "walked"),
    "actors delete": ("counter", "gone"),
    "actors kinds": (),
    "actors list": (),
    "actors pause": ("counter", "walked", "--reason", "a walk"),
    "actors resume": ("counter", "walked"),
    "actors skip": ("clerk", "skipped"),
    "actors tail": ("counter", "walked", "--count", "1"),
    "approvals list": (),
    "approvals show": ("walked",),
    "approvals approve": ("walked", "--comment", "a walk"),
    "approvals reject": ("refused",),
    "capabilities evaluate": (str(ROOT / "tests" / "agents" / "evaluation" / "utterances.yaml"),),
    "capabilities list": (),
    "db migrate": (),
    "dead drop": ("1",),
    "dead list": (),
    "dead replay": ("2",),
    "dead show": ("1",),
    "fleet apply": ("--strategy", "budget"),
    "groups list": (),
    "init": ("walked",),
    "keys new": ("--principal", "walker"),
    "log archive": (KINDS, "--kind", "counter", "--older-than", "0s", "--to", Path(tempfile.gettempdir()).as_uri()),
    "log export": (),
    "log restore": ("--kind", "counter"),
    "log segments": (),
    "log show": ("counter", "walked"),
    "partitions": (),
    "tenants": (),
    "replay": ("--against", KINDS),
    "runs show": (encode_run_id("counter", "walked", "one"),),
    "runs signal": (RUNNING, "limit", "10"),
    "runs update": (RUNNING, "take", "7"),
    "runs cancel": (RUNNING,),
    "schedules create": ("walked", "clerk", "--method", "serve", "--cron", "@yearly"),
    "schedules list": (),
    "schedules describe": ("walked",),
    "schedules pause": ("walked", "--note", "a walk"),
    "schedules resume": ("walked",),
    "schedules trigger": ("walked",),
    "schedules backfill": ("walked", "--start", "2025-12-31", "--end", "2026-01-02"),
    "schedules delete": ("walked",),
    "runs describe": (RUNNING,),
    "runs fork": (FORKED, "--at-step", "1", "--key", "fork", "--id", "fork"),
    "runs restart": (FORKED, "--from-step", "1", "--id", "restarted"),
    "runs list": ("--kind", "clerk"),
    "runs retry": (PARKED,),
    "runs terminate": (STUCK,),
    "runs wait": (encode_run_id("counter", "walked", "one"),),
    "version": (),
}
"""Commands that come to an end, with words that let them succeed, in an order in which they do."""

ORDER = (
    "actors call", "actors pause", "actors resume", "dead show", "dead drop", "dead replay",
    "runs signal", "runs update", "runs cancel", "runs retry", "runs terminate", "schedules create",
)  # fmt: skip

LASTING: dict[str, Words] = {
    "actors up": (KINDS,),
    "approvals up": (),
    "dev": (KINDS, "--port", "0"),
    "gateway up": ("--port", "0"),
    "intake up": (),
    "schedules up": (),
}
"""Commands that run until they are ended."""

SERVERS = {"infra up", "infra status", "infra down"}
ELSEWHERE: dict[str, Words] = {
    "ask": ("hello",),
    "groups promote": ("default",),
    "groups retire": ("default",),
    "runs complete": ("token",),
    "runs fail": ("token", "why"),
    "runs signal-with-start": ("clerk", "walked", "go"),
    "sessions expire": ("--idle-days", "0"),
    "sessions export": ("walked",),
    "sessions prompt": ("walked", "run"),
}
"""tests/cli/test_processes.py and test_groups.py: they need servers, or groups, of their own; and tests/gateway/
test_besides.py: they need workflows, and tokens; tests/agents/test_memory_on_servers.py: they need sessions;
tests/agents/test_sentences.py: it needs agents."""

WITH_THE_LOG = {"db migrate", "log archive", "log restore", "log segments"}
"""Commands that ask Postgres, and no pod."""

ALONE = {"capabilities evaluate", "fleet apply", "init", "keys new", "version", *LASTING, *SERVERS}
"""Commands that need no server, or wait for one."""


@pytest.fixture(scope="module")
def parked(runtime: Runtime, shared_system: System) -> None:
    """Two dead letters, runs that can be told something, and one that is parked."""

    async def fail() -> None:
        async with shared_system.client() as client:
            for key in ("x", "y"):
                with pytest.raises(CallFailed):
                    await client.ask("counter", key, "boom")
            for key in ("walked", "stuck", "parked", "skipped", "forked"):
                await client.submit("clerk", key, "serve", id=key)
            wrong = client.run(PARKED)
            await until(lambda: shared_system.sql("SELECT count(*) FROM pending WHERE state = 'running'") == [(5,)])
            await wrong.signal("limit", "no number")
            await wrong.settled(PATIENCE_S)
            await client.ask("counter", "gone", "add", {"amount": 1})
            for id in ("walked", "refused"):
                await client.ask(APPROVAL, id, "request", Spec("walk", Run("clerk", "walked", "walked")))

    asyncio.run(fail())


def test_every_command_is_walked_over() -> None:
    assert {" ".join(words) for words in ALL} == {*ENDING, *LASTING, *SERVERS, *ELSEWHERE}


def test_given_a_system_when_every_command_is_run_with_json_then_each_ends_with_0_and_prints_json(
    runtime: Runtime, parked: None, tmp_path: Path
) -> None:
    here = Runtime(runtime.environment, tmp_path)
    for name in (*ORDER, *[name for name in ENDING if name not in ORDER]):
        ended = here(*name.split(), *ENDING[name], "--json")
        assert ended.code == 0, (name, ended)
        assert ended.lines, f"{name} printed nothing"
        # Only the export, whose lines may be a file's, has something to say beside them.
        assert ended.err == "" or (name == "log export" and json.loads(ended.err)["exported"] > 0), (name, ended.err)


@pytest.mark.parametrize("name", LASTING)
def test_given_a_command_that_lasts_when_it_is_up_then_it_says_so_in_json_and_ends_with_0(
    system: System, tmp_path: Path, name: str
) -> None:
    here = Runtime(system.environment(), tmp_path)
    system.start_pod()  # so that the streams are there
    with here.start(*name.split(), *LASTING[name], "--json") as running:
        first: dict[str, Any] = running.until(lambda one: one.out and json.loads(one.out[0]))
        assert "name" in first
        assert running.end(signal.SIGINT if name == "dev" else signal.SIGTERM) == 0
        assert all(json.loads(line) is not None for line in running.out)


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_given_an_option_that_is_not_there_then_each_command_ends_with_2_and_one_line(
    words: Words, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _main(*words, "--nonsense") == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("error: ")
    assert told.err.endswith(f"see runtime {' '.join(words)} --help\n")


@pytest.mark.parametrize("name", sorted({*ENDING, *ELSEWHERE} - ALONE))
def test_given_servers_that_are_not_there_then_each_command_that_needs_them_ends_with_5_and_says_it_in_json(
    tmp_path: Path, runtime: Runtime, name: str
) -> None:
    away = {"RUNTIME_NATS_URL": "nats://127.0.0.1:1", "RUNTIME_POSTGRES_URL": "postgresql://me:secret@127.0.0.1:1/x"}
    here = Runtime(runtime.environment | away, tmp_path)
    patience: Words = () if name in WITH_THE_LOG else ("--timeout", "0.3")
    ended = here(*name.split(), *(ENDING | ELSEWHERE)[name], *patience, "--json")
    assert (ended.code, ended.out) == (5, "")
    failure = json.loads(ended.err)["error"]
    assert failure["code"] == "unavailable"
    assert "127.0.0.1:1" in failure["message"]
    assert "secret" not in ended.err


def _main(*words: str) -> int:
    from runtime.cli import main

    return main(list(words))
