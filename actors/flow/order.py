"""Which steps of a definition are next, given what became of the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from actors.flow.definition import FlowDefinition
from actors.flow.steps import WaitSignalStep, WaitTimerStep, WorkflowStep

Outcome = Literal["done", "timed_out", "skipped"]
"""What became of a step. One that failed ends the run."""


class Order:
    """The order of one definition's steps.

    A step runs when all its dependencies have come to an end and at least one of them is done: so what follows two
    branches of which one was not taken runs once. If none is done it is skipped. A step that another one names as
    `on_timeout` runs only when that one has timed out.
    """

    def __init__(self, definition: FlowDefinition) -> None:
        self._steps = definition.steps
        self._trigger = {
            step.on_timeout: step.name
            for step in definition.steps
            if isinstance(step, WaitSignalStep) and step.on_timeout is not None
        }
        self._retries = {
            name: step
            for step in definition.steps
            if isinstance(step, WaitTimerStep) and step.max_retries
            for name in step.dependencies
        }
        needed = {name for step in definition.steps for name in step.dependencies}
        self.last = tuple(step.name for step in definition.steps if step.name not in needed)
        """The steps on which no other depends: their results are the run's."""

    def retries(self, name: str) -> WaitTimerStep | None:
        """The timer that says how a step is tried again when it fails."""
        return self._retries.get(name)

    def next(self, outcomes: Mapping[str, Outcome], started: set[str]) -> tuple[list[WorkflowStep], list[str]]:
        """(steps to start, names of steps to skip), both in the order of the definition."""
        start: list[WorkflowStep] = []
        settled: dict[str, Outcome] = dict(outcomes)
        skip: list[str] = []
        for step in self._steps:
            if step.name in settled or step.name in started:
                continue
            verdict = self._verdict(step, settled)
            if verdict == "start":
                start.append(step)
            elif verdict == "skip":
                skip.append(step.name)
                settled[step.name] = "skipped"
        return start, skip

    def _verdict(self, step: WorkflowStep, outcomes: Mapping[str, Outcome]) -> Literal["start", "skip", "wait"]:
        trigger = self._trigger.get(step.name)
        if trigger is not None:
            if trigger not in outcomes:
                return "wait"
            if outcomes[trigger] != "timed_out":
                return "skip"
        ends = [outcomes.get(name) for name in step.dependencies]
        if None in ends:
            return "wait"
        return "start" if not ends or "done" in ends else "skip"
