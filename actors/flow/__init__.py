"""Workflows as data: steps with their dependencies, checked when they are written down, and run by the engine.

    steps.py        the kinds of steps
    definition.py   a definition and its JSON form
    checks.py       what is wrong with one
    order.py        which steps are next, given what became of the others
    values.py       what a task is called with
    drawing.py      a definition as a picture: Mermaid and SVG
    running.py      a definition as a workflow
"""

from actors.flow.definition import BadFlow, FlowDefinition
from actors.flow.running import flow, flow_workflow
from actors.flow.steps import (
    TaskStep,
    WaitSignalStep,
    WaitTimerStep,
    WorkflowStep,
    task_step,
    wait_signal_step,
    wait_timer_step,
)

__all__ = [
    "BadFlow",
    "FlowDefinition",
    "TaskStep",
    "WaitSignalStep",
    "WaitTimerStep",
    "WorkflowStep",
    "flow",
    "flow_workflow",
    "task_step",
    "wait_signal_step",
    "wait_timer_step",
]
