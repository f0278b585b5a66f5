"""The host takes time and chance from runtime/clock.py alone, so that the simulator owns them."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.system import ROOT

OWN = re.compile(
    r"\btime\.(time|time_ns|monotonic|monotonic_ns|perf_counter|perf_counter_ns|sleep)\b|\brandom\.(random|Random|choice)"
    r"|datetime\.(now|utcnow|today)\(|\b(secrets|uuid)\.|os\.urandom|^from (time|random|secrets|uuid) import"
)
THREAD = Path("runtime/host/watchdog.py")
"""It counts its own ticks in a thread of its own, to notice that everything else stands still."""


def test_given_the_host_then_no_line_of_it_asks_another_clock_or_another_chance() -> None:
    found = [
        f"{file.relative_to(ROOT)}:{number}"
        for file in sorted((ROOT / "runtime" / "host").rglob("*.py"))
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if file.relative_to(ROOT) != THREAD and OWN.search(line)
    ]
    assert found == []


def test_given_a_line_that_asks_another_clock_then_it_is_seen() -> None:
    for line in ("time.monotonic()", "random.random()", "datetime.datetime.now(datetime.UTC)", "uuid.uuid4()"):
        assert OWN.search(line), line
