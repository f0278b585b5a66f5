"""The official JavaScript client calls actors with nothing but docs/protocol.md.

Its packages are installed by npm into the user's cache, once for each package-lock.json; without node or npm on the
machine this suite is skipped.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.protocol.conftest import Start
from tests.protocol.document import blocks
from tests.support.system import System

HERE = Path(__file__).parent / "js"

pytestmark = pytest.mark.skipif(
    shutil.which("node") is None or shutil.which("npm") is None, reason="node and npm are not on this machine"
)


@pytest.fixture(scope="session")
def scripts() -> Path:
    """A directory with the scripts, the document's code, and the installed packages."""
    digest = hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    place = cache / "troupe-tests" / f"javascript-{digest}"
    place.mkdir(parents=True, exist_ok=True)
    if not (place / "installed").exists():
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, place / name)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr
        (place / "installed").touch()
    shutil.copy(HERE / "calls.mjs", place)
    example, token, partition = blocks("javascript")
    for name, code in (("example", example), ("token", token), ("partition", partition)):
        (place / f"{name}.mjs").write_text(code)
    return place


def node(scripts: Path, system: System, *arguments: str) -> str:
    """What a script prints, which must end well."""
    done = subprocess.run(
        ["node", *arguments],
        cwd=scripts,
        env={**os.environ, "NATS_URL": system.nats_url},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_given_the_official_javascript_client_then_the_whole_protocol_holds(
    running: System, start_intake: Start, scripts: Path
) -> None:
    start_intake(running)
    printed = node(scripts, running, "calls.mjs")
    assert printed.splitlines() == [
        f"{step}: holds"
        for step in ("commandsAndRepeats", "manyWithOneInbox", "theCallFrontAndQueries", "capabilities", "sessions")
    ]


def test_given_the_documents_example_then_it_runs_as_it_stands(running: System, scripts: Path) -> None:
    printed = node(scripts, running, "example.mjs", "counter", "js-example", "add", '{"amount": 3}')
    assert '"result":3' in printed
