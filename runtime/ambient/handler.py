"""What every context of a handler has beside what its kind of actor gives it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from runtime.ambient import spans
from runtime.ambient.configuration import Config
from runtime.ambient.logs import HandlerLog
from runtime.ambient.metrics import Metrics
from runtime.ambient.secrets import Secrets, guard
from runtime.ambient.step import in_step
from runtime.errors import BadResult
from runtime.showing import encoded
from schemas.runs import encode_run_id

if TYPE_CHECKING:
    from runtime.turn import Turn


class Ambient:
    """Mixed into the contexts; `turn` is theirs."""

    __slots__ = ()

    turn: Turn

    @property
    def kind(self) -> str:
        """The kind of this actor."""
        return self.turn.address.kind

    @property
    def run_id(self) -> str:
        """The run's id as `client.run`, HTTP and `runtime runs` take it."""
        address = self.turn.address
        return encode_run_id(address.kind, address.key, self.turn.command_id)

    @property
    def step_id(self) -> str | None:
        """The id of the step that runs here, which is its idempotency key; None outside of steps."""
        return in_step.get() or None

    @property
    def log(self) -> HandlerLog:
        """A logger whose lines say what they are about, and are not written again in a replay."""
        return HandlerLog(self.turn)

    @property
    def metrics(self) -> Metrics:
        """Counters and distributions that are counted once."""
        return self.turn.counted

    def trace_span(self, name: str, **attributes: str | int | float | bool) -> AbstractContextManager[object]:
        """A span of the trace that this is part of; nothing in a replay, and where no telemetry is on."""
        turn = self.turn
        if spans.active is None or turn.replaying:
            return nullcontext()
        plain = {name: guard.redacted(value) if isinstance(value, str) else value for name, value in attributes.items()}
        about: dict[str, str | int | float | bool] = {
            "troupe.tenant": turn.address.tenant,
            "troupe.kind": turn.address.kind,
            "troupe.key": turn.address.key,
            "troupe.command.id": turn.command_id,
            "troupe.attempt": turn.attempt,
        }
        return spans.active.span(name, turn.headers, about | plain)

    def show(self, value: Any) -> None:
        """Shows a value, anything with a JSON form, to who watches the run's session: at once, and beside the log.

        In a step (also as `runtime.showing.show`, in whatever thread) it is void once a later attempt at the step
        shows something, and once the step has its result. In a workflow outside of its steps it stays, and a replay
        does not show it again. It is nowhere but in the session's stream; without a session nobody sees it.

        Raises BadResult in what is pure, and for a value of more than 524,288 bytes; asyncio.CancelledError once the
        attempt is over.
        """
        self.turn.showing(encoded(value))

    def unshow(self) -> None:
        """Takes back what this attempt has shown so far: what it shows from here on is in its place."""
        self.turn.showing(None)

    @property
    def secrets(self) -> Secrets:
        """The tenant's secrets; see runtime.ambient.secrets. Raises BadResult in what is pure."""
        if not self.turn.executes:
            raise BadResult("a decision or a query is pure, and has no secrets: use an async handler or a function")
        return Secrets(self.turn.address.tenant)

    @property
    def config(self) -> Config:
        """Values, flags and variants that a run sees once and for all; see runtime.ambient.configuration."""
        return Config(self.turn.address, self.turn.recall)
