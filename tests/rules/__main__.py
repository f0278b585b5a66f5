"""`make rules [ONLY=]`: breaks every rule of the design and expects its tests to fail. Exit 0 only when all did.

Unbroken, the same tests must pass: that is tried first.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from tests.rules.rule import Break, Rule
from tests.rules.rules import RULES
from tests.rules.trial import LIMIT_S, Outcome, ran, tried

SOUND_S = 10.0
"""What a test may take on average when nothing is broken, on a machine with other things to do."""


def chosen(only: str) -> list[Rule]:
    """The rules whose names begin with one of the words of `only`, all when it is empty."""
    words = tuple(only.replace(",", " ").split())
    return [rule for rule in RULES if not words or rule.name.startswith(words)]


def sound(rules: Sequence[Rule]) -> bool:
    """Whether the tests of these rules pass as long as nothing is broken."""
    tests = sorted({test for rule in rules for one in rule.breaks for test in one.tests})
    outcome = ran(tests, limit_s=LIMIT_S + SOUND_S * len(tests))
    failing = {test: why for test, why in outcome.verdicts.items() if why != "passed"}
    for test, why in failing.items():
        print(f"{test} does not pass although nothing is broken: {why}")
    print(f"unbroken: {len(tests)} tests, {len(failing)} of them fail, {outcome.seconds:.0f} s", flush=True)
    return not failing


def show(rule: Rule, one: Break, outcome: Outcome) -> None:
    """One line of the table."""
    word = "caught" if outcome.caught else "MISSED"
    print(f"{word:8}{outcome.seconds:5.0f} s  {rule.name:32}{one.file}", flush=True)
    if not outcome.caught:
        print(f"{'':18}{one.old.strip()!r} became {one.new.strip()!r}")
        for test, why in outcome.verdicts.items():
            print(f"{'':18}{why:16}{test}", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs them; gives the exit code."""
    parser = argparse.ArgumentParser(prog="make rules", description=__doc__)
    parser.add_argument("--only", default="", help="names of rules, or what they begin with: 1. 4.steps")
    parser.add_argument("--jobs", type=int, default=2, help="breaks that are tried side by side")
    parser.add_argument("--unchecked", action="store_true", help="do not run the tests unbroken first")
    given = parser.parse_args(arguments)
    rules = chosen(given.only)
    if not rules:
        parser.error(f"no rule's name begins with {given.only!r}")
    good = given.unchecked or sound(rules)
    breaks = [(rule, one) for rule in rules for one in rule.breaks]
    caught = 0
    with ThreadPoolExecutor(given.jobs) as pool:
        for (rule, one), outcome in zip(breaks, pool.map(lambda pair: tried(pair[1]), breaks), strict=True):
            show(rule, one, outcome)
            caught += outcome.caught
    print(f"rules {len(rules)}, breaks {len(breaks)}, caught {caught}, missed {len(breaks) - caught}")
    return 0 if good and caught == len(breaks) else 1


if __name__ == "__main__":
    sys.exit(main())
