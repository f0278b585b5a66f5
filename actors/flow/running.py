"""Running a definition: a workflow whose code walks through the steps, so that it inherits every promise of one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from actors.flow.definition import FlowDefinition
from actors.flow.order import Order, Outcome
from actors.flow.steps import TaskStep, WaitSignalStep, WaitTimerStep, WorkflowStep
from actors.flow.values import filled
from runtime.errors import CallFailed, Rejected
from runtime.flow.context import Workflow
from runtime.workflow import OnExisting, WorkflowKind, workflow

_TIMED_OUT: Any = object()


def flow_workflow(name: str, definition: FlowDefinition, *, on_existing: OnExisting = "join") -> WorkflowKind:
    """The workflow that a definition is: `run` takes its input, any JSON value, and gives the last steps' results.

    The result is an object by the names of the steps on which no other depends, without those that were skipped. It
    fails with the first task that fails for good, or with a signal that does not come in time and for which nothing
    else stands. `on_existing` as in `runtime.workflow`. What became of each step so far is published under its name.
    """

    async def run(ctx: Workflow, input: Any = None) -> dict[str, Any]:
        return await _Walk(ctx, definition, input).result()

    run.__doc__ = f"{len(definition.steps)} steps: {', '.join(step.name for step in definition.steps)}."
    return workflow(name, on_existing=on_existing)(run)


def flow(build: Callable[[], FlowDefinition]) -> WorkflowKind:
    """The same as a decorator, of a function that gives the definition and whose name is the workflow's."""
    return flow_workflow(build.__name__, build())


class _Walk:
    """One attempt at one run."""

    def __init__(self, ctx: Workflow, definition: FlowDefinition, input: Any) -> None:
        self._ctx = ctx
        self._order = Order(definition)
        self._steps = {step.name: step for step in definition.steps}
        self._input = input
        self._outcomes: dict[str, Outcome] = {}
        self._results: dict[str, Any] = {}
        self._running: dict[str, asyncio.Task[Any]] = {}

    async def result(self) -> dict[str, Any]:
        """Takes the steps, each as soon as it may be taken. See flow_workflow."""
        try:
            while self._go_on():
                await asyncio.wait(self._running.values(), return_when=asyncio.FIRST_COMPLETED)
                for name in [name for name, task in self._running.items() if task.done()]:
                    self._end(name, self._running.pop(name).result())
        finally:
            for task in self._running.values():
                task.cancel()
        return {name: self._results[name] for name in self._order.last if self._outcomes[name] == "done"}

    def _go_on(self) -> bool:
        start, skip = self._order.next(self._outcomes, set(self._running))
        for name in skip:
            self._settle(name, "skipped", None)
        for step in start:
            self._running[step.name] = self._ctx.spawn(self._taken(step))
        return bool(self._running)

    def _end(self, name: str, result: Any) -> None:
        if result is _TIMED_OUT:
            self._settle(name, "timed_out", None)
        else:
            self._settle(name, "done", result)

    def _settle(self, name: str, outcome: Outcome, result: Any) -> None:
        self._outcomes[name], self._results[name] = outcome, result
        self._ctx.publish(name, outcome)

    async def _taken(self, step: WorkflowStep) -> Any:
        if isinstance(step, TaskStep):
            return await self._task(step)
        if isinstance(step, WaitSignalStep):
            return await self._signal(step)
        return await self._timer(step)

    async def _task(self, step: TaskStep) -> Any:
        arguments = self._arguments(step)
        retries = self._order.retries(step.name)
        tried = 0
        while True:
            try:
                return await self._called(step, arguments)
            except (CallFailed, Rejected) as error:
                if retries is None or tried == retries.max_retries:
                    code = error.code if isinstance(error, CallFailed) else "rejected"
                    raise Rejected(f"step {step.name!r}: {error}", {"step": step.name, "code": code}) from error
            await self._ctx.sleep((retries.delay_ms or 0) / 1000 * 2**tried)
            tried += 1

    async def _called(self, step: TaskStep, arguments: Any) -> Any:
        ctx, timeout_s = self._ctx, None if step.timeout_ms is None else step.timeout_ms / 1000
        if not step.object_keys:
            return await ctx.task(step.handler_name, arguments, timeout_s=timeout_s)
        kind, method = step.service_name, step.handler_name
        asked = {key: ctx.ask(kind, key, method, arguments, timeout_s=timeout_s) for key in step.object_keys}
        if len(asked) == 1:
            return await asked.popitem()[1]
        return dict(zip(asked, await ctx.parallel(asked.values()), strict=True))

    def _arguments(self, step: TaskStep) -> Any:
        if step.input_data is not msgspec.UNSET:
            return filled(step.input_data, self._input, self._results)
        if not step.dependencies:
            return self._input
        if len(step.dependencies) == 1:
            return self._results[step.dependencies[0]]
        return {name: self._results[name] for name in step.dependencies}

    async def _signal(self, step: WaitSignalStep) -> Any:
        timeout_s = None if step.timeout_ms is None else step.timeout_ms / 1000
        if step.on_timeout is not None:
            return await self._ctx.signal(step.signal_name, timeout_s=timeout_s, default=_TIMED_OUT)
        try:
            return await self._ctx.signal(step.signal_name, timeout_s=timeout_s)
        except TimeoutError:
            raise Rejected(f"step {step.name!r}: no signal {step.signal_name!r} came within {timeout_s:g} s") from None

    async def _timer(self, step: WaitTimerStep) -> float:
        """Gives the Unix time at which it has ended."""
        if step.max_retries:
            return self._ctx.now  # it is its dependencies' policy, and they are done
        if step.cron_expr is None:
            return await self._ctx.timer(delay_s=(step.delay_ms or 0) / 1000)
        return await self._ctx.timer(cron=step.cron_expr, timezone=step.timezone)
