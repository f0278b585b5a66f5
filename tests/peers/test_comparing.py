"""Sweeps, ratios and the report: from what was measured to what is said of it, without a peer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.bench.stage import Miscounted
from tests.peers import measuring, packages, ratios, report, results
from tests.peers.loading import check
from tests.peers.peer import Axes, Ground, LeftOut, Peer
from tests.peers.results import About, Comparison, Results, Side
from tests.peers.sweep import Sweep, Trial, sweep
from tests.peers.work import WORKS, Outcome, Setting, by_step


def outcome(per_s: float, p50_ms: float = 1.0) -> Outcome:
    return Outcome(per_s, p50_ms, p50_ms * 2, 100, {"pod": 30.0, "callers": 10.0})


def compared(peer: str, work: str, ours: list[Outcome], theirs: list[Outcome]) -> Comparison:
    return Comparison(peer, work, Side({"pods": 2}, ours), Side({"in_flight": 64}, theirs), 5.0, "2026-01-02 03:04")


@pytest.fixture
def found() -> Results:
    return Results(
        ["PostgreSQL 18, fsync on", "2 cores"],
        {
            "ours": About("Troupe", "One way.", "on", {"psycopg": "3"}, {"keyed": Sweep({"pods": 2}, [])}),
            "restate": About("Restate", "Another way.", "synced", {"sdk": "1", "a": "2"}),
            "dbos": About("DBOS", "A third way.", "on", left_out="pip ended with exit code 1: no network"),
        },
        {
            "restate.keyed": compared("restate", "keyed", [outcome(w) for w in (20, 90, 30)], [outcome(2.0)] * 3),
            "restate.alone": compared("restate", "alone", [outcome(9, 1.0)], [outcome(9, 4.0)]),
        },
    )


def test_given_rounds_when_compared_then_throughput_and_latency_are_medians_of_ours_over_theirs(found: Results) -> None:
    figures = ratios.figures(found)
    assert figures["restate_keyed_ratio"] == 15
    assert figures["restate_keyed_latency_ratio"] == 0.25
    assert "restate_hot_key_ratio" not in figures  # it was not measured, so nothing is said
    assert figures["restate_keyed_ours_per_s"] == 30
    said = {ratio.name: ratios.verdict(ratio, figures) for ratio in ratios.RATIOS if ratio.name in figures}
    assert said == {"restate_keyed_ratio": "reached", "restate_keyed_latency_ratio": "reached"}


def test_given_a_ratio_below_its_target_then_the_report_says_missed(found: Results) -> None:
    assert "| reached |" in report.table(found)[2]
    found.comparisons["restate.keyed"].ours.runs = [outcome(29)]
    assert report.table(found)[2].endswith("| 14.5 | at least 15 | missed |")


def test_given_rounds_far_apart_then_the_report_doubts_their_ratio_and_no_other(found: Results) -> None:
    (doubt,) = [line for line in report.written(found).splitlines() if line.startswith("In doubt")]
    assert doubt.endswith(": a keyed counter, 1000 keys, saturated, Restate.")
    found.comparisons["restate.keyed"].ours.runs = [outcome(30), outcome(33)]
    assert "In doubt" not in report.written(found)


def test_given_the_same_results_when_kept_and_read_then_the_report_is_the_same(found: Results, tmp_path: Path) -> None:
    results.write(tmp_path / "results.json", found)
    again = results.read(tmp_path / "results.json")
    assert report.written(again) == report.written(found)
    assert "Left out: pip ended with exit code 1: no network" in report.written(again)
    assert results.read(tmp_path / "none.json") == Results()


def test_given_axes_when_swept_then_each_is_kept_at_its_best_and_what_fails_is_no_choice() -> None:
    def measure(setting: Setting) -> Outcome:
        if setting["pool"] == 9:
            raise Miscounted("one is missing")
        return outcome(int(setting["in_flight"]) * (2 if setting["style"] == "sync" else 1))

    axes: Axes = {"style": ("async", "sync"), "in_flight": (4, 16, 8), "pool": (3, 9)}
    found = sweep(WORKS["keyed"], axes, measure, lambda line: None)
    assert found.best == {"style": "sync", "in_flight": 16, "pool": 3}
    assert [trial.failure for trial in found.trials if trial.outcome is None] == ["Miscounted: one is missing"]
    assert len(found.trials) == len({str(trial.setting) for trial in found.trials}), "none is tried twice"


def test_given_runs_of_ten_steps_when_measured_then_rates_are_of_steps_and_latencies_of_runs() -> None:
    found = by_step(WORKS["steps"], outcome(3, 20.0))
    assert (found.per_s, found.p50_ms, found.counted, found.cpu_us["pod"]) == (30, 20.0, 1000, 3.0)
    assert by_step(WORKS["keyed"], outcome(3, 20.0)) == outcome(3, 20.0)


def test_given_latency_when_swept_then_the_shortest_wins() -> None:
    waits: dict[int | str, float] = {1: 5.0, 2: 3.0, 4: 4.0}

    def measure(setting: Setting) -> Outcome:
        return outcome(10, waits[setting["workers"]])

    found = sweep(WORKS["alone"], {"workers": (1, 2, 4)}, measure, lambda line: None)
    assert found.best == {"workers": 2}


def test_given_a_peer_that_always_fails_when_swept_then_it_is_left_out_with_the_reason() -> None:
    def fail(setting: Setting) -> Outcome:
        raise RuntimeError("no license")

    with pytest.raises(LeftOut, match="RuntimeError: no license"):
        sweep(WORKS["keyed"], {"in_flight": (1, 2)}, fail, lambda line: None)


def test_given_a_store_that_counted_another_number_then_there_is_no_figure() -> None:
    check(7, 7, "the log")
    with pytest.raises(Miscounted, match="7 times, and the log counted 8"):
        check(7, 8, "the log")


def test_given_packages_that_do_not_exist_then_the_peer_is_left_out_with_what_was_said(tmp_path: Path) -> None:
    with pytest.raises(LeftOut, match="exit code"):
        packages.run(["false"])
    with pytest.raises(LeftOut, match="is not installed"):
        packages.run([str(tmp_path / "missing")])


class Scripted:
    """A system whose figures are given: it shows the order in which systems are measured."""

    how = durability = ""

    def __init__(self, name: str, rate: float, measured: list[str]) -> None:
        self.name = self.title = name
        self.works: Mapping[str, Axes] = {"keyed": {"in_flight": (1,)}}
        self._rate = rate
        self._measured = measured

    def prepare(self, ground: Ground) -> dict[str, str]:
        if not self._rate:
            raise LeftOut("it is not there")
        return {"package": "1"}

    def measure(self, ground: Ground, work: str, setting: Setting, seconds: float) -> Outcome:
        self._measured.append(self.name)
        return outcome(self._rate)


def test_given_systems_when_measured_then_they_take_turns_and_what_is_missing_is_said(tmp_path: Path) -> None:
    measured: list[str] = []
    ground = Ground(None, tmp_path, tmp_path)  # type: ignore[arg-type]  # no server is needed for what is scripted
    rates = {"ours": 30, "dbos": 2, "restate": 0}
    systems: list[Peer] = [Scripted(name, rate, measured) for name, rate in rates.items()]
    found, plan = Results(), measuring.Plan(1.0, 1.0, 2, ["ours", "dbos"])
    ready = measuring.prepare(ground, systems, found, lambda line: None)
    measuring.find_settings(ground, ready, ["keyed"], found, plan, lambda line: None)
    measured.clear()
    measuring.compare(ground, ready, ["keyed"], found, plan, lambda line: None)
    assert measured == ["ours", "dbos", "ours", "dbos"]
    assert found.about["restate"].left_out == "it is not there"
    assert ratios.figures(found)["dbos_keyed_ratio"] == 15


def test_given_another_version_when_prepared_then_its_settings_are_searched_again(tmp_path: Path) -> None:
    ground = Ground(None, tmp_path, tmp_path)  # type: ignore[arg-type]  # as above
    found = Results(about={"dbos": About("", "", "", {"package": "0"}, {"keyed": Sweep({}, [Trial({})])})})
    measuring.prepare(ground, [Scripted("dbos", 2, [])], found, lambda line: None)
    assert found.about["dbos"].sweeps == {}
