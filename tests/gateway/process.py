"""A gateway as users run it, and ways to talk to it."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

import httpx

from tests.support.warm import start

START_TIMEOUT_S = 60.0
READ_TIMEOUT_S = 120.0


class Event:
    """One event of a stream: its id, its name (`message` for facts) and its data."""

    def __init__(self, id: str | None, name: str, data: Any) -> None:
        self.id = id
        self.name = name
        self.data = data

    def __repr__(self) -> str:
        return f"<{self.name} {self.id} {self.data}>"


class GatewayProcess:
    """`python -m gateway` on a free port."""

    def __init__(self, environment: Mapping[str, str], *arguments: str) -> None:
        self._environment = dict(environment)
        self._arguments = arguments

    def __enter__(self) -> Self:
        self.process = start(
            "gateway", "--port", "0", *self._arguments, env=self._environment, stderr=subprocess.PIPE
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"the gateway ended at once: {self.process.communicate()[1]}")
        self.url = json.loads(line)["url"]
        self.http = httpx.Client(base_url=self.url, timeout=READ_TIMEOUT_S, trust_env=False)
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def terminate(self) -> int:
        """SIGTERM; gives the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def intent(self, kind: str, key: str, method: str, args: Any = None, **more: Any) -> httpx.Response:
        """POST /intent; `headers` are the request's."""
        headers = more.pop("headers", {})
        body = {"kind": kind, "key": key, "method": method, **more}
        if args is not None:
            body["args"] = args
        return self.http.post("/intent", json=body, headers=headers)

    def send(self, path: str, content: bytes, content_type: str | None = "application/json") -> httpx.Response:
        """POST of raw bytes."""
        headers = {} if content_type is None else {"content-type": content_type}
        return self.http.post(path, content=content, headers=headers)

    @contextmanager
    def stream(self, path: str, **headers: str) -> Iterator[Iterator[Event]]:
        """The events of a stream as they come, heartbeats as events named `comment`."""
        with self.http.stream("GET", path, headers=headers) as response:
            if response.status_code != 200:
                response.read()
                raise AssertionError(response.text)
            yield events_of(response)


def events_of(response: httpx.Response) -> Iterator[Event]:
    """The events of a response, by its content type."""
    if response.headers["content-type"].startswith("text/event-stream"):
        yield from _sse(response)
        return
    for line in response.iter_lines():
        if line:
            found = json.loads(line)
            if isinstance(found.get("event"), dict):  # one of another protocol
                yield Event(found.get("id"), "message", found["event"])
                continue
            name = found.get("event", "message")
            yield Event(found.get("id"), name, found["fact"] if name == "message" else found["data"])


def _sse(response: httpx.Response) -> Iterator[Event]:
    id: str | None = None
    name, data = "message", ""
    for line in response.iter_lines():
        if line.startswith(":"):
            yield Event(None, "comment", line[1:].strip())
        elif line:
            field, _, value = line.partition(": ")
            if field == "id":
                id = value
            elif field == "event":
                name = value
            elif field == "data":
                data = value
        elif data:
            yield Event(id, name, json.loads(data))
            id, name, data = None, "message", ""


def error_of(response: httpx.Response) -> tuple[int, str]:
    """(status, code) of an answer that must have the one shape of errors."""
    document = response.json()
    assert set(document) == {"error"}, document
    assert set(document["error"]) == {"code", "message", "path", "details"}
    assert response.headers["content-type"] == "application/json"
    assert document["error"]["message"]
    return response.status_code, document["error"]["code"]
