"""docs/protocol.md says what the code does, and its own code runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.client.objects import MAX_OBJECT_BYTES
from runtime.host.front import REPLY_WITHIN_S
from schemas import headers
from schemas.address import MAX_TOKEN_BYTES, BadAddress, encode_token, partition_of
from schemas.errors import CODES
from schemas.subjects import SERVICES
from tests.protocol.document import PATH, blocks, rows
from tests.support.system import System

AWKWARD = ["a.b *>", "café", "a", "~-_", "%2E", "'!()*", "a/b?c#d", "\U0001f389", "x" * 200, " ", "\t"]


def code(index: int) -> dict[str, Any]:
    """The names that a piece of the document's Python defines."""
    found: dict[str, Any] = {}
    exec(blocks("python")[index], found)
    return found


def test_given_the_table_of_errors_then_it_is_the_codes_of_the_code() -> None:
    assert rows("## Errors") == [
        [f"`{one.name}`", str(one.status), "yes" if one.retryable else "no", one.meaning] for one in CODES.values()
    ]


def test_given_the_table_of_headers_then_it_has_every_header_of_the_code() -> None:
    known = {
        value for name, value in vars(headers).items() if name.isupper() and isinstance(value, str) and name[0] != "_"
    }
    documented = {row[0].strip("`") for row in rows("### Headers")}
    only_in_rows = {headers.TIMER, headers.PERMIT, headers.FIRST_AT, headers.QUEUE_UNTIL, headers.RUN_UNTIL}
    assert documented == known - {headers.BATCH_REPLIES} - only_in_rows


def test_given_the_table_of_services_then_it_has_every_service() -> None:
    assert {row[0] for row in rows("## Services")} == {f"`svc.{name}`" for name in SERVICES}


def test_given_the_limits_then_they_are_those_of_the_code() -> None:
    limits = dict(row for row in rows("## Limits"))
    assert limits["token of a key or session"] == f"{MAX_TOKEN_BYTES} bytes"
    assert limits["command id"] == f"{headers.MAX_ID_LENGTH} characters"
    assert limits["a body in the object store"].startswith(f"{MAX_OBJECT_BYTES // 1024**2} MiB")
    assert limits["wait of the call front"] == f"{REPLY_WITHIN_S:.0f} s"


@given(st.text(min_size=1, max_size=60))
@settings(max_examples=300)
def test_given_any_key_then_the_documents_token_is_the_one_spelling(key: str) -> None:
    try:
        spelled = encode_token(key)
    except BadAddress:
        return
    assert code(1)["token"](key) == spelled


@given(st.text(min_size=1, max_size=30), st.integers(1, 1024))
@settings(max_examples=200)
def test_given_any_address_then_the_documents_partition_is_the_brokers(key: str, partitions: int) -> None:
    token = code(1)["token"](key)
    assert code(2)["partition"]("acme", "counter", token, partitions) == partition_of(
        "acme", "counter", token, partitions
    )


@pytest.mark.skipif(shutil.which("go") is None, reason="Go is not on this machine")
def test_given_the_documents_go_then_its_tokens_and_partitions_are_the_same(tmp_path: Path) -> None:
    _, token, partition = blocks("go")
    for name, source in (("token", token), ("partition", partition)):
        (tmp_path / f"{name}.go").write_text(source)
        subprocess.run(["go", "build", "-o", name, f"{name}.go"], cwd=tmp_path, check=True)

    def run(*command: str) -> str:
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.rstrip("\n")

    for key in AWKWARD:
        assert run("./token", key) == encode_token(key)
        lane = partition_of("acme", "counter", encode_token(key), 128)
        assert run("./partition", "acme", "counter", encode_token(key), "128") == str(lane)


def test_given_the_documents_examples_of_json_then_they_are_json() -> None:
    for block in blocks("json"):
        for line in block.splitlines():
            assert isinstance(json.loads(line), dict)


def test_given_the_documents_python_then_it_calls_an_actor_as_it_stands(running: System, tmp_path: Path) -> None:
    script = tmp_path / "example.py"
    script.write_text(blocks("python")[0])
    printed = subprocess.run(
        [sys.executable, script, "counter", "py-example", "add", '{"amount": 4}'],
        env={**os.environ, "NATS_URL": running.nats_url},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(printed.stdout)["result"] == 4
    assert "import nats" in script.read_text()
    assert "runtime" not in script.read_text()


def test_given_links_in_the_document_then_they_lead_to_its_headings() -> None:
    text = PATH.read_text()
    headings = {line.lstrip("# ").lower().replace(" ", "-") for line in text.splitlines() if line.startswith("#")}
    links = {part.partition(")")[0] for part in text.split("](#")[1:]}
    assert links
    assert links <= headings
