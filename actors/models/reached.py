"""Any model that litellm reaches. Importing litellm takes seconds and 180 MB: only what asks a model does."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncGenerator
from typing import Any

import msgspec

from actors.models.asking import question
from actors.models.gathering import Gathering
from actors.models.model import Garbled, ModelError, RateLimited, Refused, Target, Unavailable, retry_after_s
from actors.models.wire import Completion, Delta, ModelRequest, Usage
from runtime.errors import Misconfigured


def load() -> Any:
    """litellm, with nothing of it that talks to anybody but the models. Raises Misconfigured when it is not there."""
    # Importing it would ask the network for prices; it has a copy of its own.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    try:
        import litellm  # noqa: PLC0415  # see above
    except ImportError as error:
        raise Misconfigured("models need litellm: pip install 'troupe[agents]'") from error
    litellm.telemetry = False
    litellm.suppress_debug_info = True
    return litellm


class LiteLLM:
    """The model of a Target, by litellm."""

    def __init__(self) -> None:
        self._litellm = load()

    async def stream(self, target: Target, request: ModelRequest) -> AsyncGenerator[Delta | Completion, None]:
        """See Model."""
        gathering = Gathering(target.model)
        answer: Any = None
        try:
            answer = await self._litellm.acompletion(**question(target, request))
            async for chunk in answer:
                for delta in gathering.take(chunk):
                    yield delta
        except Exception as error:  # whatever a provider's client raises is the model's failure
            raise self._failure(target.model, error) from error
        finally:
            if answer is not None:  # who has gone away meanwhile must not keep a connection
                await answer.aclose()
        message = gathering.whole()
        yield Completion(message, gathering.name, gathering.finish, self._usage(target.model, gathering.counted))

    def _usage(self, model: str, counted: Any) -> Usage:
        if counted is None:
            return Usage()
        prompt, completion = counted.prompt_tokens or 0, counted.completion_tokens or 0
        return Usage(prompt, completion, self.cost_usd(model, prompt, completion))

    def cost_usd(self, model: str, prompt_tokens: int, completion_tokens: int) -> float | None:
        """What so many tokens cost, by litellm's own list of prices; None for a model that is not in it."""
        try:
            costs = self._litellm.cost_per_token(
                model=model, prompt_tokens=prompt_tokens, completion_tokens=completion_tokens
            )
        except Exception:  # noqa: BLE001  # it raises bare Exceptions for models that it does not know
            return None
        return float(sum(costs))

    def _failure(self, model: str, error: Exception) -> ModelError:
        known = self._litellm.exceptions
        text = " ".join(str(error).split())[:500]
        if isinstance(error, ModelError):
            return error
        if isinstance(error, known.RateLimitError):
            return RateLimited(model, f"is asked too often: {text}", _retry_after_s(error))
        if isinstance(error, known.Timeout):
            return Unavailable(model, f"did not answer in time: {text}", late=True)
        refusing = (
            known.BadRequestError, known.AuthenticationError, known.PermissionDeniedError, known.NotFoundError,
            known.UnprocessableEntityError,
        )  # fmt: skip
        if isinstance(error, refusing):
            return Refused(model, f"refuses the request: {text}")
        if isinstance(error, (json.JSONDecodeError, msgspec.DecodeError, UnicodeDecodeError, KeyError, AttributeError)):
            return Garbled(model, f"answered with what is no answer: {type(error).__name__}: {text}")
        return Unavailable(model, f"cannot be reached: {type(error).__name__}: {text}")


def _retry_after_s(error: Exception) -> float | None:
    # (The headers of the error's response are empty.)
    return retry_after_s(getattr(error, "litellm_response_headers", None) or {})
