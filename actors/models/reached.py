"""Any model that litellm reaches. Importing litellm takes seconds and 180 MB: only what asks a model does."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import msgspec

from actors.models.model import Garbled, ModelError, RateLimited, Refused, Target, Unavailable
from actors.models.wire import CallPiece, Completion, Delta, Message, ModelRequest, ToolCall, Usage
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
        text: list[str] = []
        calls: dict[int, _Call] = {}
        finish, counted, name = "", None, target.model
        answer: Any = None
        try:
            answer = await self._litellm.acompletion(**_asked(target, request))
            async for chunk in answer:
                name = chunk.model or name
                counted = getattr(chunk, "usage", None) or counted
                for choice in chunk.choices:
                    finish = choice.finish_reason or finish
                    if reasoning := getattr(choice.delta, "reasoning_content", None):
                        yield Delta(reasoning=reasoning)
                    for piece in choice.delta.tool_calls or ():
                        yield Delta(call=calls.setdefault(piece.index, _Call()).take(piece))
                    if choice.delta.content:
                        text.append(choice.delta.content)
                        yield Delta(choice.delta.content)
        except Exception as error:  # whatever a provider's client raises is the model's failure
            raise self._failure(target.model, error) from error
        finally:
            if answer is not None:  # who has gone away meanwhile must not keep a connection
                await answer.aclose()
        if not finish:
            raise Unavailable(target.model, "broke its answer off")
        tools = tuple(calls[index].whole(f"call-{index}") for index in sorted(calls))
        message = Message("assistant", "".join(text), tools)
        yield Completion(message, name, finish, self._usage(target.model, counted))

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


class _Call:
    """A tool call that comes in pieces."""

    def __init__(self) -> None:
        self.id = self.name = ""
        self.arguments: list[str] = []

    def take(self, piece: Any) -> CallPiece:
        self.id = piece.id or self.id
        function = piece.function
        name, arguments = ("", "") if function is None else (function.name or "", function.arguments or "")
        self.name += name
        self.arguments.append(arguments)
        return CallPiece(piece.index, piece.id or "", name, arguments)

    def whole(self, id: str) -> ToolCall:
        return ToolCall(self.id or id, self.name, "".join(self.arguments) or "{}")


def _asked(target: Target, request: ModelRequest) -> dict[str, Any]:
    asked: dict[str, Any] = {
        **target.options,
        "model": target.model,
        "messages": [_message(message) for message in request.messages],
        "stream": True,
        "stream_options": {"include_usage": True},
        "timeout": target.timeout_s,
        "num_retries": 0,
        "max_retries": 0,
    }
    if target.api_base is not None:
        asked["api_base"] = target.api_base
    if target.api_key_env is not None:
        if not (key := os.environ.get(target.api_key_env)):
            raise Refused(target.model, f"needs a key: set the environment variable {target.api_key_env}")
        asked["api_key"] = key
    elif target.api_base is not None:
        asked["api_key"] = "none"  # an endpoint of one's own often wants none, and the client insists on one
    if request.tools:
        asked["tools"] = [{"type": "function", "function": msgspec.to_builtins(tool)} for tool in request.tools]
    if request.json_schema is not None:
        form = {"name": "answer", "schema": request.json_schema}
        asked["response_format"] = {"type": "json_schema", "json_schema": form}
    for name in ("temperature", "max_tokens"):
        if (value := getattr(request, name)) is not None:
            asked[name] = value
    return asked


def _message(message: Message) -> dict[str, Any]:
    said: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.name:
        said["name"] = message.name
    if message.tool_call_id:
        said["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        said["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    return said


def _retry_after_s(error: Exception) -> float | None:
    # (The headers of the error's response are empty.)
    headers: Mapping[str, str] = getattr(error, "litellm_response_headers", None) or {}
    try:
        return max(float(headers["retry-after"]), 0.0)
    except (KeyError, ValueError):
        return None
