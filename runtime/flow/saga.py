"""Undoing what was done, in reverse, when a workflow cannot go on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any

from runtime.errors import CallFailed, Rejected, StepFailed


class ContinueAsNew(BaseException):
    """Ends the workflow's code, so that its run goes on as new. Let it out."""

    def __init__(self, args: Any) -> None:
        super().__init__("the run goes on as new: let this out of the workflow")
        self.given = args


class Saga:
    """`async with ctx.saga() as saga`: an error or a cancellation within undoes what `undo` was told, last first.

    An undoing step that fails for good does not keep the others from being tried: it is noted on the error.
    """

    def __init__(self, step: Callable[..., Awaitable[Any]]) -> None:
        self._step = step
        self._undoing: list[Callable[[], Awaitable[Any]]] = []

    def undo(self, name: str | Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:
        """Says how to undo what was done, or is about to be: the arguments of ctx.step."""
        self._undoing.append(lambda: self._step(name, *args, **kwargs))

    def undo_by(self, job: Callable[[], Awaitable[Any]]) -> None:
        """The same, by what is no step: `saga.undo_by(lambda: ctx.ask(...))`."""
        self._undoing.append(job)

    async def __aenter__(self) -> Saga:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, ContinueAsNew):
            return
        while self._undoing:
            try:
                await self._undoing.pop()()
            except (StepFailed, Rejected, CallFailed) as failed:
                error.add_note(f"it could not be undone: {failed}")
