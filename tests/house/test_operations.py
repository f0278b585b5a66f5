"""docs/operations.md names only what exists: metrics, commands, variables, log lines, targets and headings."""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from runtime.cli.app import app
from runtime.host.settings import PREFIX, PodSettings
from tests.support.system import ROOT

PAGE = ROOT / "docs" / "operations.md"
TEXT = PAGE.read_text()
QUOTED = re.findall(r"`([^`\n]+)`", TEXT)
MEASURES = (ROOT / "runtime" / "telemetry" / "pod_measures.py").read_text()


def commands() -> Iterator[str]:
    """Every `runtime …` of the page."""
    yield from (one for one in QUOTED if one.startswith("runtime "))


def messages() -> set[str]:
    """Every text of the engine's code, with what is filled in left out."""
    found: set[str] = set()
    for file in (ROOT / "runtime").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return found


def test_given_the_page_then_its_metrics_are_those_of_the_code() -> None:
    named = {re.sub(r"\{.*", "", one) for one in QUOTED if one.startswith("troupe_")}
    assert named == set(re.findall(r'"(troupe_\w+)"', MEASURES))


@pytest.mark.parametrize("line", sorted(set(commands())))
def test_given_a_command_of_the_page_then_it_exists_with_its_options(line: str) -> None:
    words = line.split()[1:]
    command: typer.core.TyperGroup | typer.core.TyperCommand = get_command(app)  # type: ignore[assignment]  # it is one
    while isinstance(command, typer.core.TyperGroup) and words:
        assert words[0] in command.commands, f"{line}: there is no {words[0]}"
        command = command.commands[words.pop(0)]  # type: ignore[assignment]  # typer makes no others
    assert not isinstance(command, typer.core.TyperGroup), f"{line} needs a command of the group"
    options = {name for parameter in command.params for name in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= options
    wanted = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    given = words[: next((place for place, word in enumerate(words) if word.startswith("--")), len(words))]
    assert sum(parameter.required for parameter in wanted) <= len(given) <= len(wanted)


def test_given_the_page_then_its_variables_are_settings_of_a_pod() -> None:
    known = {PREFIX + field.name.upper() for field in dataclasses.fields(PodSettings)}
    named = set(re.findall(r"RUNTIME_\w+", TEXT))
    assert named
    assert named <= known


def test_given_the_log_lines_of_the_page_then_the_code_writes_them() -> None:
    section = TEXT.partition("## Log lines")[2].partition("\n## ")[0]
    quoted = re.findall(r'^\| "([^"]+)" \|', section, re.MULTILINE)
    assert len(quoted) >= 10
    quoted += re.findall(r'[("]"?([a-z][^"|()]{12,60})"\)?', TEXT.partition("## Alarms")[2].partition("\n## ")[0])
    said = messages()
    assert [line for line in quoted if not any(line in message for message in said)] == []


def test_given_the_page_then_its_targets_headings_and_files_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {one.split()[1] for one in QUOTED if one.startswith("make ")} <= targets
    titles = re.findall(r"^#+ (.+)$", TEXT, re.MULTILINE)
    headings = {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles}
    assert {link[1:] for link in links() if link.startswith("#")} <= headings
    files = [link for link in links() if not link.startswith("#")]
    assert [name for name in files if not (PAGE.parent / name).exists()] == []
    assert [one for one in QUOTED if one.startswith("tests/") and not (ROOT / one).exists()] == []


def links() -> list[str]:
    """Where the page's links go."""
    return re.findall(r"\]\(([^)]+)\)", TEXT)


def test_given_the_page_then_the_index_names_it() -> None:
    index = (Path(PAGE.parent) / "index.md").read_text()
    assert "(operations.md)" in index
    assert "(soak.md)" in index
