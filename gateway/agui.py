"""POST /agui: a message to an agent by the AG-UI protocol, answered by the events of its run (docs/streams.md)."""

from __future__ import annotations

import secrets
from typing import Any

import msgspec
from litestar import post

from gateway.answering import Event
from gateway.context import decoded, gateway_of, json_body, travelling
from gateway.following import Followed
from gateway.responses import AnyRequest
from gateway.sinks import EventStream, Sink, format_of
from gateway.streams import OPEN_TIMEOUT_S
from gateway.translating import SESSION
from runtime.client import Client, Envelope
from runtime.errors import CallFailed, Rejected
from schemas import headers as h

ROUTER = "router"
"""Who is asked when nobody is named."""

SAY_TIMEOUT_S = 30.0


class InputMessage(msgspec.Struct):
    """A message as an AG-UI client has it: `content` is a text, or parts of which the texts are taken."""

    id: str
    role: str
    content: Any = None


class RunAgentInput(msgspec.Struct, rename="camel"):
    """What AG-UI's clients send. `threadId` is the session, `runId` the id of the message: the same one is said once.

    What is said is the last message, which must be a user's: the session has those before it. `forwardedProps` may name
    the `agent`, and what a busy session does (`when_busy`: queue, interrupt, reject). Of `state`, values that differ
    from the session's are set there. `tools` and `context` of clients are not used.
    """

    thread_id: str
    run_id: str
    messages: list[msgspec.Raw]
    state: Any = None
    tools: list[Any] = []
    context: list[Any] = []
    forwarded_props: Any = None


class _Heard(msgspec.Struct):
    number: int
    run: str
    agent: str


_decode = msgspec.json.Decoder(RunAgentInput)


@post("/agui", status_code=200, summary="Say something to whoever it is for, by AG-UI")
async def post_agui(request: AnyRequest) -> EventStream:
    """AG-UI: `RunAgentInput` in, the run's events out, until it has ended."""
    return await _run(request, None)


@post("/agui/{agent:str}", status_code=200, summary="Say something to an agent, by AG-UI")
async def post_agui_agent(request: AnyRequest, agent: str) -> EventStream:
    """The same for the agent of that name."""
    return await _run(request, agent)


async def _run(request: AnyRequest, agent: str | None) -> EventStream:
    gateway = gateway_of(request)
    client, caller = await gateway.admit(request)
    asked = decoded(await json_body(request), _decode)
    if not h.is_id(asked.run_id):
        text = f"a runId is 1 to {h.MAX_ID_LENGTH} printable ASCII characters without spaces"
        raise CallFailed("bad_request", text, path="$.runId")
    props = asked.forwarded_props if isinstance(asked.forwarded_props, dict) else {}
    name = agent or props.get("agent") or ROUTER
    if not isinstance(name, str):
        raise CallFailed("bad_request", "forwardedProps.agent names an agent", path="$.forwardedProps.agent")
    say: dict[str, Any] = {"text": _last_said(asked), "agent": name}
    if "when_busy" in props:
        say["when_busy"] = props["when_busy"]
    await gateway.check_method(client, SESSION, "say")
    await gateway.find_kind(client, name)
    envelope: Any = {
        "session": asked.thread_id, "headers": travelling(request), "principal": caller.principal, "roles": caller.roles
    }  # fmt: skip
    reader = await gateway.link.watch(client, asked.thread_id, "new", OPEN_TIMEOUT_S)
    try:
        await _set_state(client, asked, envelope)
        reply = await client.call(
            SESSION, asked.thread_id, "say", msgspec.json.encode(say), id=asked.run_id, timeout_s=SAY_TIMEOUT_S,
            envelope=Envelope(**envelope),
        )  # fmt: skip
        if reply.error is not None:
            error = reply.error
            if error.code == "rejected":
                raise Rejected(error.message, error.details)
            raise CallFailed(error.code, error.message, path=error.path, details=error.details)
        if reply.repeated:  # it may be over: what there was of it is shown again
            await reader.close()
            reader = await gateway.link.watch(client, asked.thread_id, 0, OPEN_TIMEOUT_S)
    except BaseException:
        await reader.close()
        raise
    before: list[Event] = [msgspec.json.decode(message) for message in asked.messages]
    followed = Followed(gateway, client, asked.thread_id, before=before, only=asked.run_id)

    async def produce(sink: Sink) -> None:
        await followed.through(sink, reader, 0, joins=False)

    return EventStream(gateway, format_of(request), produce, reader)


def _last_said(asked: RunAgentInput) -> str:
    if not asked.messages:
        raise CallFailed("bad_request", "there is nothing to answer: messages is empty", path="$.messages")
    path = f"$.messages[{len(asked.messages) - 1}]"
    try:
        last = msgspec.json.decode(asked.messages[-1], type=InputMessage)
    except msgspec.DecodeError as error:
        raise CallFailed("bad_request", f"this is no message: {error}", path=path) from error
    if last.role != "user":
        raise CallFailed("bad_request", f"the last message is the user's, not of role {last.role[:40]!r}", path=path)
    if isinstance(last.content, str):
        return last.content
    parts = last.content if isinstance(last.content, list) else []
    texts = [part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)]
    if not texts:
        raise CallFailed("bad_request", "the last message has no text", path=f"{path}.content")
    return "\n".join(texts)


async def _set_state(client: Client, asked: RunAgentInput, envelope: Any) -> None:
    """Sets what the client has changed of the session's state."""
    if not isinstance(asked.state, dict) or not asked.state:
        return
    known = await client.query(SESSION, asked.thread_id, "values", type=dict[str, Any])
    for name, value in asked.state.items():
        if known.get(name) != value:
            args = {"name": name, "value": value}
            await client.ask(SESSION, asked.thread_id, "set_state", args, id=secrets.token_hex(16), **envelope)


ROUTES = [post_agui, post_agui_agent]
