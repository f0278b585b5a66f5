"""What the command line makes: projects and API keys."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.keys import Keyring
from tests.cli.command import Runtime
from tests.support.system import ROOT


@pytest.fixture
def alone(tmp_path: Path) -> Runtime:
    """`runtime …` in an empty directory."""
    return Runtime({name: value for name, value in os.environ.items() if not name.startswith("RUNTIME_")}, tmp_path)


def test_given_a_new_project_then_its_own_tests_pass(alone: Runtime, tmp_path: Path) -> None:
    assert "next: cd bank; runtime dev bank" in alone.ok("init", "bank").out
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path / "bank",
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout


def test_given_files_of_that_name_when_a_project_is_made_then_nothing_is_touched(
    alone: Runtime, tmp_path: Path
) -> None:
    (tmp_path / "README.md").write_text("mine")
    assert "README.md exists already" in alone.fails(2, "init")
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
    made = alone.ok("init", "other", "--json").json
    assert {path.name for path in (tmp_path / "other").iterdir()} == set(made["files"])


def test_given_new_keys_then_the_gateway_knows_them_and_the_file_holds_no_key(alone: Runtime, tmp_path: Path) -> None:
    file = tmp_path / "keys.jsonl"
    words = ("keys", "new", "--tenant", "acme", "--principal", "ann", "--role", "admin", "--file", str(file))
    first = alone.ok(*words, "--json").json
    second = alone.ok(*words).out.splitlines()[0]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    keyring = Keyring(file)
    for key in (first["key"], second):
        entry = keyring.find(key)
        assert entry is not None
        assert (entry.tenant, entry.principal, entry.roles) == ("acme", "ann", ("admin",))
        assert key not in file.read_text()
    assert keyring.find(first["key"][:-1] + "!") is None


def test_given_no_file_when_a_key_is_made_then_its_line_is_printed(alone: Runtime) -> None:
    key, line = alone.ok("keys", "new", "--principal", "ann").out.splitlines()
    assert key.startswith("troupe_")
    assert json.loads(line.partition(": ")[2])["principal"] == "ann"


def test_given_a_tenant_that_is_no_name_when_a_key_is_made_then_it_is_refused(alone: Runtime) -> None:
    assert "tenant 'a.b'" in alone.fails(2, "keys", "new", "--tenant", "a.b", "--principal", "ann")
