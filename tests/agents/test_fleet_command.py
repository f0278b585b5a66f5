"""`runtime fleet`: what each slot resolves to, whether it answers, what it costs; and recommended models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors.models.fleet import SLOTS, Fleet
from actors.models.recommended import STRATEGIES, apply, recommendations
from runtime.cli import main
from runtime.errors import Misconfigured
from tests.support.model_server import Fails, ModelServer, Says
from tests.support.patience import PATIENCE_S

OWN = {
    "fleet": {
        "generate": {
            "model": "openai/own", "api_base": "http://127.0.0.1:1/v1", "timeout_s": 7, "fallbacks": ["offline"],
            "routing": {"model": "openai/small", "up_to_tokens": 9},
        }
    }
}  # fmt: skip


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RUNTIME_FLEET", raising=False)
    return tmp_path


def told(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, Any]:
    code = main([*words, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_given_recommendations_then_each_slot_has_one_for_each_strategy_with_source_and_date() -> None:
    known = recommendations()
    assert {slot: set(models) for slot, models in known.slots.items()} == {slot: set(STRATEGIES) for slot in SLOTS}
    assert known.source
    assert known.date.year == 2026


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_given_a_fleet_when_a_strategy_is_applied_then_its_models_are_changed_and_all_else_is_kept(
    here: Path, strategy: Any
) -> None:
    path = here / "fleet.yaml"
    path.write_bytes(msgspec.yaml.encode(OWN))
    models = apply(path, strategy)
    written = msgspec.yaml.decode(path.read_bytes())["fleet"]
    assert {slot: settings["model"] for slot, settings in written.items()} == models
    kept = {name: value for name, value in OWN["fleet"]["generate"].items() if name not in ("model", "api_base")}
    assert written["generate"] == {"model": models["generate"], **kept}
    assert Fleet.load(path).settings("generate").timeout_s == 7
    before = path.read_bytes()
    apply(path, strategy)
    assert path.read_bytes() == before


def test_given_no_file_when_a_strategy_is_applied_then_it_is_made_and_a_wrong_one_is_refused(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = told(capsys, "fleet", "apply", "--strategy", "budget")
    assert (code, said["models"]["classify"]) == (0, recommendations().slots["classify"]["budget"])
    assert Fleet.load(here / "fleet.yaml").settings("classify").model == said["models"]["classify"]
    assert main(["fleet", "apply", "--strategy", "cheapest"]) == 2
    assert "there are best, budget, local" in capsys.readouterr().err
    (here / "fleet.yaml").write_text("fleet: {dance: {}}")
    with pytest.raises(Misconfigured, match="slot"):
        apply(here / "fleet.yaml", "best")


def test_given_no_fleet_when_it_is_shown_then_the_offline_model_answers_for_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, said = told(capsys, "fleet")
    assert (code, said["file"]) == (0, None)
    assert [(one["slot"], one["model"], one["answers"], one["prompt_usd"]) for one in said["models"]] == [
        (slot, "offline", True, 0.0) for slot in SLOTS
    ]


def test_given_a_fleet_when_it_is_shown_then_each_model_is_asked_once_and_what_fails_is_told(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with ModelServer() as server:
        server.script(Says("yes"), Fails(404))
        generate = {"model": "openai/gpt-4o-mini", "api_base": server.url, "fallbacks": ["offline"]}
        classify = {"model": "openai/away", "api_base": server.url + "/away"}
        (here / "fleet.yaml").write_bytes(msgspec.yaml.encode({"fleet": {"generate": generate, "classify": classify}}))
        server.requests.clear()
        code, said = told(capsys, "fleet", "--timeout", str(PATIENCE_S))
        assert server.calls == 2, said
    shown = {(one["slot"], one["place"]): one for one in said["models"]}
    good, bad, spare = shown["generate", "primary"], shown["classify", "primary"], shown["extract", "fallback"]
    answered = sorted([good["answers"], bad["answers"]])
    assert (code, answered, spare["answers"]) == (1, [False, True], True)
    assert 0 < good["prompt_usd"] < good["completion_usd"] < 0.01
    assert bad["prompt_usd"] is None
    assert "404" in good["problem"] + bad["problem"]
