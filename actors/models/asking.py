"""What is sent to a model: the request in the form of the chat completions that OpenAI's protocol has."""

from __future__ import annotations

import os
from typing import Any

import msgspec

from actors.models.model import Refused, Target
from actors.models.wire import Message, ModelRequest


def question(target: Target, request: ModelRequest) -> dict[str, Any]:
    """The fields of a question that is answered in pieces. Raises Refused when its key is not there.

    `model`, `api_base`, `api_key`, `timeout` and the numbers of retries are litellm's names for how it is asked.
    """
    asked: dict[str, Any] = {
        **target.options,
        "model": target.model,
        "messages": [message_of(message) for message in request.messages],
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


def message_of(message: Message) -> dict[str, Any]:
    """A message in the form of the protocol."""
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
