"""The rules in short: every break still fits the source, every test is there, and three breaks are really tried."""

from __future__ import annotations

import re
import subprocess
import sys

import msgspec
import pytest

from tests.rules.rules import RULES
from tests.rules.trial import OWN, applied, tried
from tests.support.system import ROOT

QUICK = ("2.tokens.encoded", "2.tokens.length", "3.balance")
"""Rules whose first break is tried: their tests need no server."""

BREAKS = [(rule, one) for rule in RULES for one in rule.breaks]


def test_given_the_list_then_names_are_unique_and_belong_to_decisions_1_to_7() -> None:
    names = [rule.name for rule in RULES]
    assert len(set(names)) == len(names)
    assert [name for name in names if not re.fullmatch(r"[1-7](\.[a-z_0-9]+)+", name)] == []
    assert names == sorted(names, key=lambda name: int(name[0])), "decision by decision"
    assert all(rule.breaks and all(one.tests for one in rule.breaks) for rule in RULES)


def test_given_the_source_as_it_is_then_the_old_text_of_every_break_occurs_exactly_once() -> None:
    problems = []
    for rule, one in BREAKS:
        try:
            broken = applied((ROOT / one.file).read_text(encoding="utf-8"), one)
            if one.file.endswith(".py"):
                compile(broken, one.file, "exec")  # what cannot be imported fails every test, and shows nothing
            assert one.old != one.new
        except (ValueError, SyntaxError) as error:
            problems.append(f"{rule.name}: {error}")
    assert problems == []


def test_given_the_tests_as_they_are_then_every_one_that_a_break_names_is_there() -> None:
    wanted = {test for _, one in BREAKS for test in one.tests}
    files = sorted({test.partition("::")[0] for test in wanted})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *files]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.splitlines()
    there = {*listed, *[line.partition("[")[0] for line in listed]}
    assert sorted(wanted - there) == []


@pytest.mark.parametrize("name", QUICK)
def test_given_a_rule_when_it_is_broken_then_its_tests_fail_by_assertions_of_their_own(name: str) -> None:
    (rule,) = [rule for rule in RULES if rule.name == name]
    outcome = tried(rule.breaks[0])
    assert outcome.caught, outcome.verdicts


def test_given_a_break_that_breaks_nothing_when_it_is_tried_then_it_is_not_caught() -> None:
    (unbroken,) = [rule.breaks[0] for rule in RULES if rule.name == QUICK[0]]
    (test,) = unbroken.tests
    outcome = tried(msgspec.structs.replace(unbroken, new=f"{unbroken.old}  # the same"))
    assert outcome.verdicts == {test: "passed"}
    assert not outcome.caught
    assert "passed" not in OWN
