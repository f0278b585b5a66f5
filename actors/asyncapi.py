"""The AsyncAPI 3.0 document of a system: `python -m actors.asyncapi [MODULE…] > asyncapi.json`.

Modules may define kinds, FastStream subscribers, or both. Without modules the running pods are asked what they serve
(RUNTIME_NATS_URL). The commands' and calls' channels come from the kinds' own schemas; subscribers are described by
FastStream, which knows pydantic only, so msgspec types are given to it as schemas (actors/faststream_schemas.py).
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any

import msgspec

from actors.faststream_schemas import describe
from actors.json_schema import Components
from actors.subscribers import brokers_of, subscribes
from runtime.client import Client
from runtime.client.client import DEFAULT_URL
from runtime.errors import Misconfigured, TroupeError
from runtime.kind import Kind
from runtime.modules import load_modules
from runtime.version import VERSION
from schemas import headers
from schemas.subjects import INTENT_STREAM
from schemas.wire import Capability, Fact, Intent, Method, Reply

_TENANT = {"description": "The tenant: letters, digits, '_' and '-'."}
_KEY = {"description": "The actor's key as a token (docs/protocol.md)."}
_SESSION = {"description": "The session as a token (docs/protocol.md)."}
_TEXTS = {
    headers.ID: "The command's id: a repeat with it is answered, not processed again.",
    headers.REPLY: "The subject to reply to, under _INBOX.<tenant>.",
    headers.REPLY_MODE: "`batch`: replies may come as a list.",
    headers.DEADLINE: "Unix milliseconds after which the command is not processed.",
    headers.SESSION: "The session whose stream shows what came of it.",
    headers.CORRELATION: "One id for everything that follows from one request.",
    headers.CAUSATION: "The id of what caused this command.",
    headers.PRINCIPAL: "Who asks; believed only beside a valid signature.",
    headers.ROLES: "The principal's roles, joined by commas; believed as it is.",
    headers.SIGNATURE: "The proof of the principal and its roles.",
    headers.OBJECT: "The body is in the object store under this name.",
    headers.CONTENT_TYPE: "application/json (the default) or application/msgpack.",
    headers.TRACEPARENT: "W3C trace context.",
    headers.TRACESTATE: "W3C trace context; travels on, as headers do that begin with ctx-.",
    headers.BAGGAGE: "W3C baggage; travels on.",
}


class Document:
    """An AsyncAPI document that is being put together."""

    def __init__(self, title: str, version: str) -> None:
        self.components = Components()
        self.channels: dict[str, Any] = {}
        self.operations: dict[str, Any] = {}
        self.messages: dict[str, Any] = {}
        self.servers: dict[str, Any] = {}
        self._info = {"title": title, "version": version}

    def as_json(self) -> dict[str, Any]:
        """The document."""
        lines = {name: {"type": "string", "description": text} for name, text in _TEXTS.items()}
        self.components.schemas["TroupeHeaders"] = {"type": "object", "properties": lines}
        return {
            "asyncapi": "3.0.0",
            "info": self._info,
            "defaultContentType": "application/json",
            "servers": self.servers,
            "channels": self.channels,
            "operations": self.operations,
            "components": {"schemas": self.components.schemas, "messages": self.messages},
        }

    def add_capability(self, capability: Capability) -> None:
        """Channels for each method of a kind: `cmd` for what changes something, and `call` for all."""
        for method in capability.methods:
            name = f"{capability.kind}.{method.name}"
            self._message(f"{name}.arguments", self.components.lift(name, method.arguments), with_headers=True)
            result = self.components.lift(name, method.result)
            reply = {"allOf": [self.components.of(Reply), {"properties": {"result": result}}]}
            self._message(f"{name}.reply", reply)
            self._message_channels(capability, method, name)

    def add_fixed(self) -> None:
        """The channels that every system has: intents in, facts out."""
        self._message("intent", self.components.of(Intent), with_headers=True)
        self._message("fact", self.components.of(Fact))
        text = f"Said in a session, stored in stream {INTENT_STREAM}, relayed as commands by the intake."
        self._channel("intent", "intent.{tenant}.{session}", ["intent"], text, {"session": _SESSION})
        self._operation("sayIntent", "receive", "intent", ["intent"])
        text = "What a session's watchers see; stream EV keeps it for an hour."
        self._channel("ev", "ev.{tenant}.{session}", ["fact"], text, {"session": _SESSION})
        self._operation("watchSession", "send", "ev", ["fact"])

    def add_subscribers(self, modules: Sequence[ModuleType], nats_url: str) -> None:
        """The channels of users' FastStream subscribers and publishers."""
        found = describe(brokers_of(nats_url, modules), self.components, **self._info)
        self.channels |= found["channels"]
        self.operations |= found["operations"]
        self.servers |= found["servers"]
        self.messages |= found["components"]["messages"]
        self.components.schemas |= found["components"]["schemas"]

    def _message_channels(self, capability: Capability, method: Method, name: str) -> None:
        asked, replied = f"{name}.arguments", f"{name}.reply"
        address = f"{{tenant}}.{capability.kind}.{{key}}.{method.name}"
        text = method.description or f"{method.flavor} of {capability.kind}"
        self._channel(f"call.{name}", f"call.{address}", [asked, replied], text, {"key": _KEY})
        reply = {"address": {"location": "$message.header#/reply"}}
        self._operation(f"call.{name}", "receive", f"call.{name}", [asked], reply, replied)
        if method.flavor != "query":
            self._channel(f"cmd.{name}", f"cmd.{address}", [asked, replied], text, {"key": _KEY})
            reply = {"address": {"location": f"$message.header#/{headers.REPLY}"}}
            self._operation(f"cmd.{name}", "receive", f"cmd.{name}", [asked], reply, replied)

    def _message(self, name: str, payload: dict[str, Any], *, with_headers: bool = False) -> None:
        self.messages[name] = {"name": name, "payload": payload}
        if with_headers:
            self.messages[name]["headers"] = {"$ref": "#/components/schemas/TroupeHeaders"}

    def _channel(self, name: str, address: str, messages: Sequence[str], text: str, parameters: dict[str, Any]) -> None:
        self.channels[name] = {
            "address": address,
            "description": text,
            "parameters": {"tenant": _TENANT} | parameters,
            "messages": {message: {"$ref": f"#/components/messages/{message}"} for message in messages},
        }

    def _operation(
        self,
        name: str,
        action: str,
        channel: str,
        messages: Sequence[str],
        reply: dict[str, Any] | None = None,
        replied: str = "",
    ) -> None:
        at = f"#/channels/{channel}"
        operation: dict[str, Any] = {
            "action": action,
            "channel": {"$ref": at},
            "messages": [{"$ref": f"{at}/messages/{message}"} for message in messages],
        }
        if reply is not None:
            operation["reply"] = reply | {"channel": {"$ref": at}, "messages": [{"$ref": f"{at}/messages/{replied}"}]}
        self.operations[name] = operation


def capability_of(kind: Kind) -> Capability:
    """A kind as pods would show it."""
    methods = [method.describe() for method in kind.methods.values()]
    return Capability(kind.name, "default", kind.type, VERSION, methods, kind.description)


def document(
    modules: Sequence[ModuleType], capabilities: Iterable[Capability] = (), nats_url: str = DEFAULT_URL
) -> dict[str, Any]:
    """The document of these modules and capabilities. Raises Misconfigured when a module defines nothing."""
    made = Document("Troupe", VERSION)
    made.add_fixed()
    for capability in capabilities:
        made.add_capability(capability)
    subscribing = []
    for module in modules:
        kinds = [value for value in vars(module).values() if isinstance(value, Kind)]
        for kind in kinds:
            made.add_capability(capability_of(kind))
        if not kinds or subscribes(module):
            subscribing.append(module)
    if subscribing:
        made.add_subscribers(subscribing, nats_url)
    return made.as_json()


async def _ask(nats_url: str) -> list[Capability]:
    async with await Client.connect(nats_url, name="troupe asyncapi") as client:
        return await client.capabilities()


def main(modules: Sequence[str]) -> int:
    """Prints the document."""
    url = os.environ.get("RUNTIME_NATS_URL") or DEFAULT_URL
    try:
        made = document(load_modules(modules)) if modules else document([], asyncio.run(_ask(url)))
    except TroupeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, Misconfigured) else 1
    json.dump(msgspec.to_builtins(made), sys.stdout, indent=2)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
