"""Logs: lines of text, or with RUNTIME_LOG_FORMAT=json one JSON object a line, with what they are about.

    {"time", "level", "logger", "message", "tenant", "kind", "key", "method", "command_id", "trace_id", "error", …}

A line is about the command among its arguments, else about the one that its thread or task is handling, so that the
lines a handler writes carry it as well. What is passed as `extra` is added.
"""

from __future__ import annotations

import datetime
import json
import logging
import os
import sys
from collections.abc import Mapping
from typing import Any

import msgspec

from runtime.ambient.secrets import guard
from runtime.errors import Misconfigured
from schemas.headers import TRACEPARENT

TEXT = "%(asctime)s %(levelname)s %(name)s %(message)s"
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}


def configure(environment: Mapping[str, str] | None = None) -> None:
    """Sets up the root logger of this process, on stderr, by RUNTIME_LOG_LEVEL and RUNTIME_LOG_FORMAT.

    Raises Misconfigured.
    """
    environment = os.environ if environment is None else environment
    level = (environment.get("RUNTIME_LOG_LEVEL") or "WARNING").upper()
    form = (environment.get("RUNTIME_LOG_FORMAT") or "text").lower()
    if level not in _LEVELS:
        raise Misconfigured(f"RUNTIME_LOG_LEVEL={level!r} is not a level: use one of {', '.join(_LEVELS)}")
    if form not in ("text", "json"):
        raise Misconfigured(f"RUNTIME_LOG_FORMAT={form!r} is not a format: use text or json")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter(TEXT))
    root = logging.getLogger()
    for former in root.handlers[:]:
        root.removeHandler(former)
    root.addHandler(handler)
    root.setLevel(level)


class TextFormatter(logging.Formatter):
    """Text, in which secrets are shown by their names."""

    def format(self, record: logging.LogRecord) -> str:
        """The lines of a record."""
        return guard.redacted(super().format(record))


class JsonFormatter(logging.Formatter):
    """One JSON object a line, in which secrets are shown by their names."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        return guard.redacted(self._line(record))

    def _line(self, record: logging.LogRecord) -> str:
        at = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        line: dict[str, Any] = {
            "time": at.isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "process": record.process,
        }
        line |= _about(record)
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        line |= {name: value for name, value in vars(record).items() if name not in _OWN and name not in line}
        try:
            return msgspec.json.encode(line, enc_hook=repr).decode()
        except (TypeError, ValueError):  # a lone surrogate, keys of different types: slower, and never refused
            return json.dumps(line, default=repr, skipkeys=True)


def _about(record: logging.LogRecord) -> dict[str, Any]:
    arguments = record.args if isinstance(record.args, tuple) else ()
    command: Any = next((one for one in arguments if _is_command(one)), None) or _in_hand()
    fields: dict[str, Any] = {}
    trace_id = None
    if command is not None:
        tenant, kind, key = command.address
        fields |= {"tenant": tenant, "kind": kind, "key": key, "method": command.method, "command_id": command.id}
        trace_id = _trace_id(command.headers.get(TRACEPARENT))
    trace_id = trace_id or _current_trace_id()
    return fields | {"trace_id": trace_id} if trace_id else fields


def _is_command(value: Any) -> bool:
    """Whether it is a runtime.host.command.Command, which a process without a pod need not import."""
    return type(value).__name__ == "Command" and hasattr(value, "address") and hasattr(value, "headers")


def _in_hand() -> Any:
    handling = sys.modules.get("runtime.host.handling")
    return handling.command() if handling is not None else None


def _trace_id(traceparent: str | None) -> str | None:
    parts = (traceparent or "").split("-")
    return parts[1] if len(parts) == 4 and len(parts[1]) == 32 else None


def _current_trace_id() -> str | None:
    """The trace of the span that is open here, where OpenTelemetry is in use."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return None
    context = trace.get_current_span().get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid else None
