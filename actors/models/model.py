"""The port to a language model, and what may come of asking one.

    ModelError
    ├── RateLimited      later: after so many seconds, if it says so
    ├── Unavailable      it cannot be reached, is too slow, or its answer broke off: another model, or another try
    ├── Garbled          it has answered with what is no answer: another try
    ├── Refused          the request itself is at fault: no other try, though another model may take it
    └── NoAnswer         everybody who could be asked has failed
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Protocol

from msgspec import Struct

from actors.models.wire import Completion, Delta, ModelRequest


class ModelError(Exception):
    """A model was asked, and gave no answer that can be used. `model` is which."""

    def __init__(self, model: str, text: str) -> None:
        super().__init__(f"model {model!r} {text}")
        self.model = model


class RateLimited(ModelError):
    """It wants to be asked later. `retry_after_s` as it says, or None."""

    def __init__(self, model: str, text: str, retry_after_s: float | None = None) -> None:
        super().__init__(model, text)
        self.retry_after_s = retry_after_s


class Unavailable(ModelError):
    """It cannot be reached, did not answer in time (`late`), or its answer broke off."""

    def __init__(self, model: str, text: str, *, late: bool = False) -> None:
        super().__init__(model, text)
        self.late = late


class Garbled(ModelError):
    """It has answered, with what is no answer."""


class Refused(ModelError):
    """It does not take the request: a wrong key, a model that does not exist, too long a prompt."""


class NoAnswer(ModelError):
    """None of the models of a slot has answered. `failures` are theirs, in order; `retry_after_s` when it may help."""

    def __init__(self, slot: str, failures: Sequence[ModelError], retry_after_s: float | None = None) -> None:
        reasons = "; ".join(str(failure) for failure in failures)
        super().__init__(failures[-1].model, f"of slot {slot!r} gave no answer, nor did another: {reasons}")
        self.failures = failures
        self.retry_after_s = retry_after_s


class Target(Struct, frozen=True, omit_defaults=True):
    """A model and where it is.

    Attributes:
        model: as litellm names it (`provider/name`), or `offline`.
        api_base: the URL of an OpenAI-compatible endpoint.
        api_key_env: the environment variable that holds its key; the provider's usual one by default.
        timeout_s: for the whole answer, and between two pieces of it.
        options: passed on as they are.
    """

    model: str
    api_base: str | None = None
    api_key_env: str | None = None
    timeout_s: float = 60.0
    options: Mapping[str, Any] = {}


class Model(Protocol):
    """Reaches models."""

    def stream(self, target: Target, request: ModelRequest) -> AsyncGenerator[Delta | Completion, None]:
        """The answer in pieces, and at the end as a whole. Raises ModelError."""


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """How many seconds a server wants to be left alone for; None when it does not say so, or as a date."""
    try:
        return max(float(headers["retry-after"]), 0.0)
    except (KeyError, ValueError):
        return None
