"""A plugin of pytest that writes how each test ended: a line of JSON with its node id, and why it failed.

Why is the name of the exception's class, `passed`, or `setup` or `teardown` when that failed. `-p tests.rules.verdict`
loads it; RULES_VERDICT in the environment names the file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Generator[None, Any, Any]:
    """Writes what became of the call, and of a set-up that failed."""
    report = yield
    if report.when == "call" or report.failed:
        why = "passed" if report.passed else report.when
        if report.when == "call" and call.excinfo is not None:
            why = call.excinfo.type.__name__
        with Path(os.environ["RULES_VERDICT"]).open("a", encoding="utf-8") as file:
            file.write(json.dumps([item.nodeid, why]) + "\n")
    return report
