"""Lines of JSON say what they are about: the actor, the command, the trace."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from typing import Any

import pytest

from runtime.errors import CallFailed, Misconfigured
from runtime.telemetry import logs
from schemas.headers import TRACEPARENT
from tests.support.system import KINDS, ROOT, System

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
TRACE = {TRACEPARENT: f"00-{TRACE_ID}-b7ad6b7169203331-01"}


def lines_of(system: System, job: Any) -> list[dict[str, Any]]:
    """What a pod writes to its log while `job(client)` runs."""
    pod = subprocess.Popen(
        [sys.executable, "-m", "runtime.host.process", KINDS, "tests.telemetry.kinds"],
        env=system.environment(log_format="json", log_level="INFO"),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert pod.stdout is not None
    assert pod.stdout.readline()

    async def run() -> None:
        async with system.client("acme") as client:
            await job(client)

    asyncio.run(run())
    pod.terminate()
    _, errors = pod.communicate(timeout=60)
    return [json.loads(line) for line in errors.splitlines()]


def test_given_json_logs_then_the_lines_of_engine_and_handlers_carry_their_command(system: System) -> None:
    async def job(client: Any) -> None:
        await client.ask("talker", "bob", "say", {"text": "hello"}, id="said-1", headers=TRACE)
        await client.ask("whisper", "w", "run", {"text": "psst"}, id="whispered-1", headers=TRACE)
        with pytest.raises(CallFailed):
            await client.ask("counter", "carl", "boom", id="boom-1", headers=TRACE)

    lines = lines_of(system, job)
    assert all({"time", "level", "logger", "message", "process"} <= set(line) for line in lines)
    by_message = {line["message"]: line for line in lines}

    said = by_message["said hello"]
    about = {"tenant": "acme", "kind": "talker", "key": "bob", "method": "say", "command_id": "said-1"}
    assert about.items() <= said.items()
    assert (said["logger"], said["level"], said["length"], said["trace_id"]) == ("shop", "INFO", 5, TRACE_ID)

    whispered = by_message["whispered psst"]
    assert (whispered["kind"], whispered["command_id"], whispered["trace_id"]) == ("whisper", "whispered-1", TRACE_ID)

    [parked] = [line for line in lines if line["message"].startswith("parked ")]
    assert (parked["key"], parked["command_id"], parked["trace_id"]) == ("carl", "boom-1", TRACE_ID)
    assert parked["level"] == "ERROR"
    assert "ValueError: boom" in parked["error"]


def test_given_values_without_a_json_form_then_the_line_is_written_all_the_same() -> None:
    record = logging.LogRecord("x", logging.INFO, "f", 1, "%s and \x00 \ud800", (object(),), None)
    record.__dict__.update(thing=object(), name_of={"a": {1, 2}}, message_of=b"\xff")
    line = json.loads(logs.JsonFormatter().format(record))
    assert "<object object" in line["message"]
    assert "<object object" in line["thing"]


def test_given_nonsense_then_configuring_is_refused() -> None:
    for name, value in (("RUNTIME_LOG_FORMAT", "xml"), ("RUNTIME_LOG_LEVEL", "loud")):
        with pytest.raises(Misconfigured, match=name):
            logs.configure({name: value})
