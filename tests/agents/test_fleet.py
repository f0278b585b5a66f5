"""Which model a slot means."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.models.fleet import Fleet, Routing, Slot, SlotSettings
from actors.models.wire import Message, ModelRequest, ToolSpec
from runtime.errors import Misconfigured

SHORT = ModelRequest((Message("user", "Hi"),))
LONG = ModelRequest((Message("user", "word " * 1000),))
WITH_TOOLS = ModelRequest(SHORT.messages, (ToolSpec("add", "Adds", {}),))

FLEET = """
fleet:
  classify: {model: cheap/small}
  generate:
    model: strong/large
    fallbacks: [other/large, offline]
    timeout_s: 20
    api_base: http://127.0.0.1:1/v1
    routing: {model: cheap/small, up_to_tokens: 100}
"""


def fleet(tmp_path: Path, text: str = FLEET, **application: SlotSettings) -> Fleet:
    path = tmp_path / "fleet.yaml"
    path.write_text(text)
    return Fleet.load(path, application)


def names(fleet: Fleet, slot: Slot, request: ModelRequest = LONG, override: SlotSettings | None = None) -> list[str]:
    return [target.model for target in fleet.targets(slot, request, override)]


def test_given_no_fleet_when_a_slot_is_asked_for_then_it_is_the_model_that_is_built_in() -> None:
    assert names(Fleet(), "generate") == ["offline"]


def test_given_a_file_when_slots_are_asked_for_then_each_has_its_models_in_order(tmp_path: Path) -> None:
    assert names(fleet(tmp_path), "generate") == ["strong/large", "other/large", "offline"]
    assert names(fleet(tmp_path), "classify") == ["cheap/small"]
    assert names(fleet(tmp_path), "extract") == ["strong/large", "other/large", "offline"]


def test_given_an_endpoint_when_a_fallback_is_asked_then_not_there(tmp_path: Path) -> None:
    first, second, _ = fleet(tmp_path).targets("generate", LONG)
    assert (first.api_base, first.timeout_s) == ("http://127.0.0.1:1/v1", 20)
    assert (second.api_base, second.timeout_s) == (None, 20)


def test_given_routing_by_cost_when_a_prompt_is_short_and_without_tools_then_the_cheap_model_goes_first(
    tmp_path: Path,
) -> None:
    known = fleet(tmp_path)
    assert names(known, "generate", SHORT)[0] == "cheap/small"
    assert names(known, "generate", LONG)[0] == "strong/large"
    assert names(known, "generate", WITH_TOOLS)[0] == "strong/large"


def test_given_three_levels_when_a_slot_is_asked_for_then_the_request_goes_before_the_application_before_the_file(
    tmp_path: Path,
) -> None:
    known = fleet(tmp_path, generate=SlotSettings(model="app/model", fallbacks=("offline",)))
    assert names(known, "generate") == ["app/model", "offline"]
    assert known.targets("generate", LONG)[0].api_base is None
    assert known.targets("generate", LONG)[0].timeout_s == 20
    assert names(known, "generate", override=SlotSettings(model="now/model")) == ["now/model"]
    longer = SlotSettings(timeout_s=90)
    assert names(known, "generate", override=longer) == ["app/model", "offline"]
    assert known.targets("generate", LONG, longer)[0].timeout_s == 90


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("fleet: {generat: {model: a}}", "has no slot 'generat': its slots are classify"),
        ("fleet: {generate: {modle: a}}", "unknown field `modle`"),
        ("fleet: {generate: {timeout_s: 0}}", r"\$\.fleet"),
        ("fleet: {generate: {model: ''}}", "names an empty model"),
        ("fleet: [", "fleet.yaml"),
    ],
)
def test_given_a_bad_file_when_it_is_loaded_then_the_error_names_the_place(
    tmp_path: Path, text: str, said: str
) -> None:
    with pytest.raises(Misconfigured, match=said):
        fleet(tmp_path, text)


def test_given_no_file_when_it_is_loaded_then_the_error_says_so(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="cannot be read"):
        Fleet.load(tmp_path / "fleet.yaml")


def test_given_routing_of_nothing_when_it_is_made_then_it_is_of_five_hundred_tokens() -> None:
    assert Routing("a").up_to_tokens == 500
