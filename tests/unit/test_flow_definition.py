"""Workflows as data: what is refused, what is next, what a task is called with, and the pictures."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any
from xml.etree import ElementTree

import pytest

from actors.flow import BadFlow, FlowDefinition, WorkflowStep, task_step, wait_signal_step, wait_timer_step
from actors.flow.order import Order, Outcome
from actors.flow.values import NoSuchValue, filled


def approval() -> FlowDefinition:
    return FlowDefinition([
        task_step("submit", handler_name="submit_document", input_data={"priority": "normal"}),
        wait_signal_step(
            "approved", signal_name="approved", dependencies=["submit"], timeout_ms=172_800_000, on_timeout="escalate"
        ),
        task_step("escalate", handler_name="escalate_document"),
        wait_signal_step("by manager", signal_name="approved", dependencies=["escalate"], timeout_ms=86_400_000),
        task_step("publish", handler_name="publish_document", dependencies=["approved", "by manager"]),
    ])  # fmt: skip


def started(definition: FlowDefinition, **outcomes: Outcome) -> tuple[list[str], list[str]]:
    steps, skipped = Order(definition).next({name.replace("_", " "): how for name, how in outcomes.items()}, set())
    return [step.name for step in steps], skipped


@pytest.mark.parametrize(
    ("steps", "fault"),
    [
        ([], "a definition has at least one step"),
        ([task_step("a", handler_name="f"), task_step("a", handler_name="f")], "step 'a': this name is taken"),
        ([task_step("b", handler_name="f", dependencies=["a"])], "step 'b': it depends on step 'a', which does not"),
        (
            [task_step("b", handler_name="f", dependencies=["a"]), task_step("a", handler_name="f")],
            "step 'b': it depends on step 'a', which comes after it",
        ),
        ([task_step("a", handler_name="no such name")], "step 'a': "),
        ([task_step("a", handler_name="f", object_keys=["x"])], "step 'a': "),
        ([task_step("a", handler_name="f", service_name="s", object_keys=["x", "x"])], "step 'a': object_keys"),
        ([task_step("a", handler_name="f", timeout_ms=-1)], "step 'a': timeout_ms"),
        ([task_step("a", handler_name="f", input_data={"x": "$results.b"})], "step 'a': input_data: '$results.b'"),
        ([task_step("a", handler_name="f", input_data=["$other"])], "step 'a': input_data: '$other' is neither"),
        ([task_step("a", handler_name="f", input_data=object())], "step 'a': input_data has no JSON form"),
        ([wait_timer_step("t")], "step 't': a timer has either"),
        ([wait_timer_step("t", delay_ms=1, cron_expr="* * * * *")], "step 't': a timer has either"),
        ([wait_timer_step("t", delay_ms=1, max_retries=2)], "step 't': max_retries needs"),
        ([wait_signal_step("w", signal_name="s", on_timeout="x")], "step 'w': on_timeout names step 'x', and there is"),
        (
            [wait_signal_step("w", signal_name="s", timeout_ms=1, on_timeout="x")],
            "step 'w': on_timeout names step 'x', which does not exist",
        ),
        (
            [task_step("x", handler_name="f"), wait_signal_step("w", signal_name="s", timeout_ms=1, on_timeout="x")],
            "step 'w': on_timeout names step 'x', which does not come after it",
        ),
    ],
)  # fmt: skip
def test_given_steps_that_cannot_work_then_the_error_names_the_step(steps: Iterable[WorkflowStep], fault: str) -> None:
    with pytest.raises(ValueError, match=re.escape(fault)) as caught:
        FlowDefinition(steps)
    assert isinstance(caught.value, BadFlow)


def test_given_several_faults_then_all_of_them_are_named() -> None:
    with pytest.raises(BadFlow) as caught:
        FlowDefinition([
            task_step("a", handler_name="f", dependencies=["x"]),
            wait_timer_step("t", delay_ms=-1),
        ])
    assert [name for name, _ in caught.value.problems] == ["a", "t"]


def test_given_a_definition_when_written_and_read_then_it_is_the_same() -> None:
    assert FlowDefinition.from_json(approval().to_json()) == approval()
    assert FlowDefinition.from_dict(approval().to_dict()) == approval()
    assert approval().to_dict()["steps"][1]["dependencies"] == ["submit"]


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        ({"steps": [{"type": "task", "name": "a"}]}, "step 'a': Object missing required field `handler_name`"),
        ({"steps": [{"type": "tusk", "name": "a"}]}, "step 'a': Invalid value 'tusk'"),
        ({"steps": [{"type": "task", "handler_name": "f"}]}, "step '#0': Object missing required field `name`"),
        ({"steps": [{"type": "task", "name": "a", "handler_name": "f", "colour": 1}]}, "step 'a': .*colour"),
        ({"format": 2, "steps": []}, "its format is 2"),
        ({}, "not the JSON form"),
        ({"steps": "none"}, "not the JSON form"),
    ],
)
def test_given_json_that_does_not_fit_then_the_error_names_the_step(data: dict[str, Any], fault: str) -> None:
    with pytest.raises(BadFlow, match=fault):
        FlowDefinition.from_dict(data)


def test_given_independent_steps_then_all_start_at_once_and_what_needs_them_waits_for_all() -> None:
    flow = FlowDefinition([
        task_step("a", handler_name="f"),
        task_step("b", handler_name="f"),
        task_step("c", handler_name="f", dependencies=["a", "b"]),
    ])
    assert started(flow) == (["a", "b"], [])
    assert started(flow, a="done") == (["b"], [])
    assert started(flow, a="done", b="done") == (["c"], [])


def test_given_a_signal_that_came_then_what_stands_for_its_time_out_is_skipped() -> None:
    assert started(approval(), submit="done", approved="done") == (["publish"], ["escalate", "by manager"])


def test_given_a_signal_that_did_not_come_then_only_what_stands_for_it_runs() -> None:
    assert started(approval(), submit="done", approved="timed_out") == (["escalate"], [])
    late = started(approval(), submit="done", approved="timed_out", escalate="done", by_manager="done")
    assert late == (["publish"], [])


def test_given_no_dependency_that_is_done_then_a_step_is_skipped() -> None:
    outcomes: dict[str, Outcome] = {"submit": "done", "approved": "timed_out", "escalate": "done"}
    assert started(approval(), **outcomes, by_manager="timed_out") == ([], ["publish"])


def test_given_a_timer_with_retries_then_it_is_its_dependencies_policy() -> None:
    flow = FlowDefinition([
        task_step("a", handler_name="f"),
        wait_timer_step("backoff", delay_ms=5, max_retries=3, dependencies=["a"]),
    ])
    order = Order(flow)
    assert order.retries("a") is flow.steps[1]
    assert order.retries("backoff") is None
    assert order.last == ("backoff",)


def test_given_references_then_they_become_values() -> None:
    template = {"id": "$input.order.id", "rows": "$results.extract.1", "text": "$$5", "all": ["$results.a.b"]}
    results = {"extract": [1, {"n": 2}], "a": {"b": 0}, "a.b": 7}
    assert filled(template, {"order": {"id": 9}}, results) == {"id": 9, "rows": {"n": 2}, "text": "$5", "all": [7]}


@pytest.mark.parametrize("reference", ["$input.missing", "$results.a.9", "$results.b"])
def test_given_a_reference_to_nothing_then_the_error_names_it(reference: str) -> None:
    with pytest.raises(NoSuchValue, match=re.escape(reference)):
        filled({"x": reference}, {"order": 1}, {"a": [1]})


def test_given_a_definition_when_drawn_then_every_step_and_every_arrow_is_there() -> None:
    flow = approval()
    text = flow.mermaid()
    assert text.startswith("flowchart TD\n")
    assert text.count("-->") == 4
    assert text.count("-. timeout .->") == 1
    picture = ElementTree.fromstring(flow.svg())
    texts = [found.text for found in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert [step.name for step in flow.steps] == texts[::2]
    assert len([found for found in picture.iter("{http://www.w3.org/2000/svg}path") if found.get("marker-end")]) == 5


def test_given_names_of_any_characters_when_drawn_then_the_pictures_hold() -> None:
    flow = FlowDefinition([task_step('a"]<b>&', handler_name="f")])
    assert '"]' not in flow.mermaid().splitlines()[1].removesuffix('"]')
    ElementTree.fromstring(flow.svg())
