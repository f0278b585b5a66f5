"""A workflow as data: its steps, what is wrong with them, and their JSON form.

    FlowDefinition([
        task_step("extract", handler_name="extract_rows"),
        wait_signal_step("approved", signal_name="approved", dependencies=["extract"], timeout_ms=60_000),
        task_step("load", handler_name="load_rows", dependencies=["approved"], input_data="$results.extract"),
    ])

A definition is checked as a whole when it is made; the error names every step that is at fault.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from actors.flow import drawing
from actors.flow.checks import problems_of
from actors.flow.steps import WorkflowStep
from runtime.errors import BadDefinition

FORMAT = 1
"""Of `to_dict`; `from_dict` refuses a newer one."""


class BadFlow(BadDefinition, ValueError):
    """A workflow's definition cannot work. `problems` are its faults: (the step's name, what is wrong with it)."""

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"step {name!r}: {what}" if name else what for name, what in problems))
        self.problems = list(problems)


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    steps: list[msgspec.Raw]
    format: int = FORMAT


class FlowDefinition:
    """Steps in an order in which each comes after what it depends on. Raises BadFlow when they cannot work."""

    def __init__(self, steps: Iterable[WorkflowStep]) -> None:
        self.steps = tuple(steps)
        if problems := list(problems_of(self.steps)):
            raise BadFlow(problems)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FlowDefinition) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash(self.to_json())

    def __repr__(self) -> str:
        return f"FlowDefinition({[step.name for step in self.steps]})"

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, as `from_dict` reads it."""
        return {"format": FORMAT, "steps": msgspec.json.decode(msgspec.json.encode(self.steps))}

    def to_json(self) -> str:
        """The JSON form as text."""
        return msgspec.json.encode(self.to_dict()).decode()

    def mermaid(self) -> str:
        """The definition as a Mermaid flowchart."""
        return drawing.mermaid(self.steps)

    def svg(self) -> str:
        """The definition as an SVG picture."""
        return drawing.svg(self.steps)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> FlowDefinition:
        """The definition of which this is the JSON form. Raises BadFlow, naming the step that does not fit."""
        return cls.from_json(msgspec.json.encode(data))

    @classmethod
    def from_json(cls, text: str | bytes) -> FlowDefinition:
        """See from_dict."""
        try:
            document = msgspec.json.decode(text, type=_Document)
        except msgspec.DecodeError as error:
            raise BadFlow([("", f"this is not the JSON form of a definition: {error}")]) from error
        if document.format != FORMAT:
            raise BadFlow([("", f"its format is {document.format}, and this code knows {FORMAT}")])
        steps, problems = [], []
        for number, raw in enumerate(document.steps):
            try:
                steps.append(msgspec.json.decode(raw, type=WorkflowStep))
            except msgspec.DecodeError as error:
                problems.append((_name_in(raw) or f"#{number}", str(error)))
        if problems:
            raise BadFlow(problems)
        return cls(steps)


def _name_in(raw: msgspec.Raw) -> str | None:
    found = msgspec.json.decode(raw)
    return str(found["name"]) if isinstance(found, dict) and "name" in found else None
