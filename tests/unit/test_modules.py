"""Finding the kinds of a user's modules, in a process of its own: what is imported there stays there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BANK = "from runtime import function\n\n@function\ndef double(x: int) -> int:\n    return 2 * x\n"
LOAD = """
import sys
sys.path.insert(0, sys.argv[2])
from runtime.modules import load_kinds
print([kind.name for kind in load_kinds([sys.argv[1]])])
"""


def load(module: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """What a process says that loads this module in this directory."""
    command = [sys.executable, "-P", "-c", LOAD, module, str(ROOT)]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("package", ["runtime", "actors", "gateway", "schemas"])
@pytest.mark.parametrize("file", ["{}.py", "{}/__init__.py", "{}/bank.py"])
def test_given_a_module_with_the_name_of_a_package_of_ours_when_loaded_then_the_error_names_the_clash(
    package: str, file: str, tmp_path: Path
) -> None:
    path = tmp_path / file.format(package)
    path.parent.mkdir(exist_ok=True)
    path.write_text(BANK)
    module = f"{package}.bank" if file.endswith("bank.py") else package
    done = load(module, tmp_path)
    assert done.returncode != 0
    assert f"has the name of Troupe's own package {package!r}" in done.stderr


def test_given_a_module_of_another_name_when_loaded_then_its_kinds_are_found(tmp_path: Path) -> None:
    (tmp_path / "bank.py").write_text(BANK)
    (tmp_path / "schemas.py").write_text("hidden = True\n")
    assert load("bank", tmp_path).stdout == "['double']\n"
