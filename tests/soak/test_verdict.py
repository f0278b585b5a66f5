"""The verdict on series: a leak is found, and what only wobbles, or grew while it started, is not taken for one."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest

from tests.soak.bounds import BOUNDS, bound_of
from tests.soak.plot import svg
from tests.soak.report import write
from tests.soak.run import Outcome, SoakSettings
from tests.soak.verdict import LEAST_SAMPLES, SURE, Series, judge, judge_all, slope, trend

MEMORY = "elder pod memory MB"


def minutely(value: object, minutes: int = 30, wobble: float = 0.0) -> Series:
    """A sample a minute of a function of the minute, with some noise."""
    assert callable(value)
    chance = random.Random(1)
    return [(float(at), float(value(at)) + chance.uniform(-wobble, wobble)) for at in range(minutes + 1)]


def test_given_memory_that_leaks_then_it_is_not_bounded() -> None:
    leaking = minutely(lambda at: 60 + 1.0 * at, wobble=3.0)
    judged = judge(MEMORY, leaking)
    assert judged.bounded is False
    assert judged.growth == pytest.approx(60, rel=0.2)


@pytest.mark.parametrize(
    ("name", "each_minute"),
    [
        ("elder pod open files", 0.5),
        ("elder pod threads", 0.2),
        ("elder pod tasks", 0.5),
        ("gateway open files", 1),
        ("nats-server connections", 1),
        ("postgres connections", 1),
        ("stream CMD consumers", 1),
        ("stream CMD messages", 200),
        ("table inbox rows", 500),
        ("table pending rows", 10),
        ("table outbox MB", 0.2),
    ],
)
def test_given_a_leak_of_any_kind_then_it_is_not_bounded(name: str, each_minute: float) -> None:
    assert judge(name, minutely(lambda at: 20 + each_minute * at, 60)).bounded is False


def test_given_facts_that_are_never_dropped_then_the_stream_is_not_bounded() -> None:
    assert judge("age of the oldest fact min", minutely(lambda at: at, 60)).bounded is True
    assert judge("age of the oldest fact min", minutely(lambda at: at, 90)).bounded is False


def test_given_what_grows_while_it_starts_and_then_stays_then_it_is_bounded() -> None:
    started = minutely(lambda at: 60 + 10 * min(at, 10), wobble=2.0)
    assert judge(MEMORY, started).bounded is True


def test_given_a_saw_of_work_that_comes_and_goes_then_it_is_bounded() -> None:
    assert judge("table inbox rows", minutely(lambda at: 40_000 + 3_000 * (at % 3))).bounded is True


PROCESSES = (33, 34, 33, 27, 34, 32, 34, 35, 27, 35, 28, 33, 34, 35, 34, 35)
"""Of Postgres in the second half of a real run: connections close with a fault and come again, never more than 35."""


def test_given_a_saw_whose_last_teeth_are_high_then_it_is_bounded() -> None:
    real = [(15.0 + number, float(value)) for number, value in enumerate(PROCESSES)]
    assert slope(real) * 60 > bound_of("postgres processes").an_hour, "by its slope alone it would grow"
    before = [(float(at), 34.0) for at in range(15)]
    assert judge("postgres processes", before + real).bounded is True


def test_given_a_dip_that_is_made_up_for_then_it_is_bounded() -> None:
    dip = [(at / 2, 20.0 if 20 <= at <= 33 else 22.0) for at in range(45)]
    judged = judge("elder pod open files", dip)
    assert judged.growth > judged.allowed
    assert trend(dip[22:]) > SURE
    assert judged.bounded is True


def test_given_a_few_samples_that_stick_out_then_they_do_not_move_the_slope() -> None:
    calm = [(float(at), 100.0) for at in range(20)]
    calm[18] = (18.0, 5_000.0)
    calm[19] = (19.0, 5_000.0)
    assert slope(calm) == 0.0


def test_given_too_few_samples_then_nothing_is_said() -> None:
    assert judge(MEMORY, minutely(lambda at: 60, LEAST_SAMPLES)).bounded is None


def test_given_a_series_that_nobody_thought_of_then_it_is_an_error_that_names_it() -> None:
    with pytest.raises(KeyError, match="swap of the moon"):
        bound_of("swap of the moon")


def test_given_what_grows_by_design_then_something_else_of_it_is_judged() -> None:
    by_design = [bound for bound in BOUNDS if bound.an_hour == math.inf]
    assert by_design
    grown = {"table events rows": minutely(lambda at: 1000 * at), MEMORY: minutely(lambda at: 60)}
    assert [one.name for one in judge_all(grown)] == [MEMORY]


def test_given_an_outcome_when_it_is_written_then_the_report_has_each_series_with_its_picture(tmp_path: Path) -> None:
    series: dict[str, Series] = {
        MEMORY: minutely(lambda at: 60 + at),
        "elder pod threads": minutely(lambda at: 8),
        "table events rows": minutely(lambda at: 1000 * at),
    }
    judged = judge_all(series)
    outcome = Outcome(SoakSettings(minutes=30), series, judged, {"kill": 3}, 5000, 7, 0.0, ["it rained"])
    assert [one.name for one in outcome.unbounded] == [MEMORY]
    assert not outcome.good
    assert outcome.line == "minutes 30, acknowledged 5000, faults 3, series 2, unbounded 1, untold 0"
    text = write(outcome, tmp_path).read_text()
    assert outcome.line in text
    assert "it rained" in text
    assert "| elder pod memory MB | 60 | 90 | 90 | 60 | 30 | **grows** |" in text
    assert "table events rows: from 0 to 30,000" in text
    for one in judged:
        picture = next((tmp_path / "soak").glob(f"{one.name.replace(' ', '-').lower()}.svg"))
        assert f"soak/{picture.name}" in text
        assert picture.read_text() == svg(one, series[one.name])
