"""A secret that handlers give away in every way they can is in no table, stream, answer or line of the pod's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import nats

from runtime.client import Client
from runtime.errors import CallFailed, Rejected
from tests.support.patience import PATIENCE_S
from tests.support.system import ROOT, System, run, until

MODULE = "tests.support.careless"
METHODS = ("keep", "answer", "send", "ask", "fail", "refuse")
SECRET = "sk-live-Zw4711qUx"


async def outcome(client: Client, kind: str, method: str) -> str:
    """What a caller is told, whatever it is."""
    try:
        return repr(await client.ask(kind, "k", method, timeout_s=PATIENCE_S, session="watched"))
    except (Rejected, CallFailed) as error:
        return repr((error, getattr(error, "details", None)))


async def messages(url: str) -> list[bytes]:
    """Every message of every stream, headers and all."""
    found: list[bytes] = []
    connection = await nats.connect(url)
    try:
        stream = connection.jetstream()
        for info in await stream.streams_info():
            for seq in range(max(info.state.first_seq, 1), info.state.last_seq + 1):
                try:
                    message = await stream.get_msg(info.config.name or "", seq)
                except nats.js.errors.NotFoundError:
                    continue
                found += [message.data or b"", repr(message.headers).encode(), (message.subject or "").encode()]
    finally:
        await connection.close()
    return found


def test_given_handlers_that_give_a_secret_away_then_it_is_nowhere(system: System, tmp_path: Path) -> None:
    output = tmp_path / "output"
    environment = system.environment(log_level="INFO", log_format="json", secret_stripe=SECRET)
    command = [sys.executable, "-m", "runtime.host.process", MODULE]

    async def scenario() -> tuple[list[str], list[bytes], list[Any]]:
        async with system.client() as client:
            told = [await outcome(client, "box", method) for method in METHODS]
            told += [await outcome(client, kind, "run") for kind in ("paying", "leaking", "yielding")]
            listed: list[Any] = [one async for one in client.runs()]
            told += [repr([await client.run(one.run_id).describe() for one in listed])]
            await until(lambda: system.sql("SELECT count(*) FROM outbox") == [(0,)])
            return told, await messages(system.nats_url), listed

    with output.open("wb") as file:
        pod = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=file, stderr=file)
        try:
            told, stored, listed = run(scenario())
        finally:
            pod.terminate()
            pod.wait(PATIENCE_S)

    tables = [name for (name,) in system.sql("SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND "
                                             "relnamespace = 'troupe'::regnamespace")]  # fmt: skip
    written = {name: repr(system.sql(f"SELECT t::text FROM {name} t")) for name in tables}
    everything = [*told, *written.values(), *[one.decode("utf-8", "replace") for one in stored], output.read_text()]

    # What is looked through is what was to be looked through.
    assert len(listed) == 9
    assert [SECRET[-2:] in one for one in told[:9]] == [False] * 6 + [True, False, False], told
    assert "[secret stripe]" in written["dead_letters"]
    assert "holds the secret" in written["dead_letters"]
    assert "troupe.step" in written["events"]
    assert any(b"[secret stripe]" in one for one in stored)
    assert "refusing [secret stripe]" in output.read_text()
    assert "Traceback" in output.read_text()
    for text in everything:
        assert SECRET not in text
        assert SECRET.encode().hex() not in text
