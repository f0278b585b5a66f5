"""Each peer's packages in an environment of its own, by the registries' ordinary clients."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.peers.peer import LeftOut

WITHIN_S = 600
LOAD = ("msgspec", "uvloop")
"""What the benchmark's own load needs, in every environment."""


def environment(state: Path, name: str, packages: Sequence[str]) -> Path:
    """The interpreter of an environment that has the packages, made if it is not there. Raises LeftOut."""
    directory = state / f"venv-{name}"
    python = directory / "bin" / "python"
    wanted = "\n".join((*packages, *LOAD))
    stamp = directory / "packages.txt"
    if not (stamp.exists() and stamp.read_text() == wanted):
        shutil.rmtree(directory, ignore_errors=True)
        run([sys.executable, "-m", "venv", str(directory)])
        run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages, *LOAD])
        stamp.write_text(wanted)
    return python


def versions(python: Path, names: Sequence[str]) -> dict[str, str]:
    """The versions of packages in an environment."""
    ask = "import importlib.metadata as m, json, sys; print(json.dumps({n: m.version(n) for n in sys.argv[1:]}))"
    found: dict[str, str] = json.loads(run([str(python), "-c", ask, *names]))
    return found


def node_package(state: Path, package: str) -> tuple[Path, str]:
    """The directory of a package that npm has installed with what it needs, and its version. Raises LeftOut."""
    directory = state / "npm"
    found = directory / "node_modules" / package / "package.json"
    if not found.exists():
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "package.json").write_text('{"private": true}\n')
        run(["npm", "install", "--no-audit", "--no-fund", "--silent", package], cwd=directory)
    return found.parent, str(json.loads(found.read_text())["version"])


def run(command: Sequence[str], *, cwd: Path | None = None) -> str:
    """What a command says. Raises LeftOut with its last words when it fails."""
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=WITHIN_S, check=False)
    except FileNotFoundError:
        raise LeftOut(f"{command[0]} is not installed on this machine") from None
    except subprocess.TimeoutExpired:
        raise LeftOut(f"{' '.join(command)} did not end within {WITHIN_S} s") from None
    if done.returncode != 0:
        words = (done.stderr or done.stdout).strip().splitlines()
        raise LeftOut(f"{' '.join(command)} ended with exit code {done.returncode}: {' '.join(words[-3:])}")
    return done.stdout
