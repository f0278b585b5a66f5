"""The contracts between the rooms hold, and can break: a copy of the house with forbidden imports in it is refused."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.support.system import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CONTRACTS: list[dict[str, Any]] = PROJECT["tool"]["importlinter"]["contracts"]

FORBIDDEN = {
    "layers": ("schemas/codec.py", "import runtime.clock"),
    "gateway": ("gateway/app.py", "import runtime.host.reads"),
    "client": ("runtime/client/runs.py", "import runtime.modules"),
    "psycopg": ("runtime/host/leases.py", "import psycopg"),
    "nats": ("runtime/cli/log.py", "import nats.errors"),
    "ports": ("runtime/host/lane.py", "import runtime.jetstream.reader"),
    "definitions": ("runtime/entity.py", "import runtime.jetstream.reader"),
}
"""For each contract by id, a file and the import that breaks it there."""


def lint(house: Path) -> tuple[int, set[str], set[str]]:
    """(exit code, names of the contracts kept, names of those broken)."""
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=house,
        env={**os.environ, "PYTHONPATH": str(house), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    found = {word: set(re.findall(rf"^(.+?) {word}\b", done.stdout, re.MULTILINE)) for word in ("KEPT", "BROKEN")}
    assert found["KEPT"] | found["BROKEN"], done.stdout + done.stderr
    return done.returncode, found["KEPT"], found["BROKEN"]


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A copy of the rooms and their contracts."""
    for room in ("schemas", "runtime", "actors", "gateway"):
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_given_the_house_as_it_is_then_every_contract_is_kept(house: Path) -> None:
    assert lint(house) == (0, {contract["name"] for contract in CONTRACTS}, set())


def test_given_a_forbidden_import_for_each_contract_then_each_breaks(house: Path) -> None:
    assert set(FORBIDDEN) == {contract["id"] for contract in CONTRACTS}
    for file, line in FORBIDDEN.values():
        with (house / file).open("a") as source:
            source.write(f"\n{line}\n")
    assert lint(house) == (1, set(), {contract["name"] for contract in CONTRACTS})
