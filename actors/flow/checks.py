"""What is wrong with a definition, step by step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from actors.flow.steps import TaskStep, WaitSignalStep, WaitTimerStep, WorkflowStep
from actors.flow.values import references
from runtime.cron import BadCalendar, check_cron, zone
from schemas.address import BadAddress, check_name

MAX_NAME_LENGTH = 100
MAX_STEPS = 1_000


def problems_of(steps: Sequence[WorkflowStep]) -> Iterable[tuple[str, str]]:
    """(the step's name, what is wrong with it) of everything that cannot work; an empty name is the whole."""
    if not steps:
        yield "", "a definition has at least one step"
    if len(steps) > MAX_STEPS:
        yield "", f"a definition has at most {MAX_STEPS} steps, not {len(steps)}: divide it among several workflows"
    known: dict[str, WorkflowStep] = {}
    names = [step.name for step in steps]
    for step in steps:
        if not 0 < len(step.name) <= MAX_NAME_LENGTH or step.name != step.name.strip() or "\0" in step.name:
            yield step.name, f"a name is a text of 1 to {MAX_NAME_LENGTH} characters without blanks around it"
        if step.name in known:
            yield step.name, "this name is taken: names are unique in a definition"
        for dependency in step.dependencies:
            if dependency not in known:
                why = "comes after it: put it before" if dependency in names else "does not exist"
                yield step.name, f"it depends on step {dependency!r}, which {why}"
        known[step.name] = step
    targets: dict[str, str] = {}
    for step in steps:
        if isinstance(step, TaskStep):
            yield from _in_task(step, known)
        elif isinstance(step, WaitSignalStep):
            yield from _in_signal(step, names, targets)
        else:
            yield from _in_timer(step)


def _in_task(step: TaskStep, known: Mapping[str, WorkflowStep]) -> Iterable[tuple[str, str]]:
    parts = [("handler_name", step.handler_name)]
    if step.object_keys:
        parts.append(("service_name", step.service_name))
    for field, value in parts:
        try:
            check_name(value, field)
        except BadAddress as error:
            yield step.name, str(error)
    if len(set(step.object_keys)) < len(step.object_keys) or "" in step.object_keys:
        yield step.name, "object_keys are different texts that are not empty"
    yield from _positive(step.name, "timeout_ms", step.timeout_ms)
    if step.input_data is msgspec.UNSET:
        return
    try:
        msgspec.json.encode(step.input_data)
    except (TypeError, ValueError) as error:
        yield step.name, f"input_data has no JSON form: {error}"
        return
    before = _before(step, known)
    for reference in references(step.input_data):
        root, _, rest = reference.partition(".")
        if root not in ("$input", "$results"):
            yield step.name, f"input_data: {reference!r} is neither $input nor $results.NAME ($$ begins a text with $)"
        elif root == "$results" and not any(rest == name or rest.startswith(f"{name}.") for name in before):
            yield step.name, f"input_data: {reference!r} names no step that is done before: put it into dependencies"


def _before(step: WorkflowStep, known: Mapping[str, WorkflowStep]) -> set[str]:
    """The steps that this one comes after."""
    found: set[str] = set()
    left = list(step.dependencies)
    while left:
        name = left.pop()
        if name in known and name not in found:
            found.add(name)
            left.extend(known[name].dependencies)
    return found


def _in_signal(step: WaitSignalStep, names: Sequence[str], targets: dict[str, str]) -> Iterable[tuple[str, str]]:
    if not 0 < len(step.signal_name) <= MAX_NAME_LENGTH:
        yield step.name, f"signal_name is a text of 1 to {MAX_NAME_LENGTH} characters"
    yield from _positive(step.name, "timeout_ms", step.timeout_ms)
    target = step.on_timeout
    if target is None:
        return
    if step.timeout_ms is None:
        yield step.name, f"on_timeout names step {target!r}, and there is no timeout_ms"
    if target not in names:
        yield step.name, f"on_timeout names step {target!r}, which does not exist"
    elif target == step.name or names.index(target) < names.index(step.name):
        yield step.name, f"on_timeout names step {target!r}, which does not come after it"
    if target in targets:
        yield step.name, f"on_timeout names step {target!r}, as that of step {targets[target]!r} does already"
    targets[target] = step.name


def _in_timer(step: WaitTimerStep) -> Iterable[tuple[str, str]]:
    if (step.delay_ms is None) == (step.cron_expr is None):
        yield step.name, "a timer has either delay_ms or cron_expr"
    yield from _positive(step.name, "delay_ms", step.delay_ms)
    if step.cron_expr is not None:
        try:
            zone(step.timezone)
            check_cron(step.cron_expr, step.timezone)
        except BadCalendar as error:
            yield step.name, str(error)
    if step.max_retries < 0:
        yield step.name, "max_retries is at least 0"
    if step.max_retries and (step.delay_ms is None or not step.dependencies):
        yield step.name, "max_retries needs delay_ms, and dependencies to try again"


def _positive(name: str, field: str, value: int | None) -> Iterable[tuple[str, str]]:
    if value is not None and value < 0:
        yield name, f"{field} is a number of milliseconds of at least 0, not {value}"
