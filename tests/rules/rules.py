"""The rules, one file a decision: decision_1.toml to decision_7.toml."""

from __future__ import annotations

from tests.rules.rule import of_decision

RULES = [rule for number in range(1, 8) for rule in of_decision(number)]
