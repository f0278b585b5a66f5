"""POST /intent with a sentence: it is said to a session, and the answer is that of the run which it begins."""

from __future__ import annotations

import asyncio
import secrets
from typing import Annotated, Any, Literal

import msgspec
from litestar import Response
from msgspec import UNSET, UnsetType

from gateway.auth import Caller
from gateway.context import Gateway, command_id, decoded
from gateway.errors import respond
from gateway.responses import AnyRequest, Json
from runtime.client import Client, Envelope, Run
from runtime.client.saying import answered, answering, say
from runtime.errors import CallFailed
from schemas.conversation import KIND, ROUTER, SAY, Say, WhenBusy, wrong_with

MAX_WAIT_S = 60.0


class SentenceBody(msgspec.Struct, forbid_unknown_fields=True):
    """A sentence, said to a session: the one that is named, or a new one.

    `agent` answers, or by default whom the router picks. `when_busy` says what happens while the session is at work on
    an answer. `id`, `mode`, `wait_s` and `deadline_ms` are those of a command.
    """

    text: str
    session: str | None = None
    agent: str = ROUTER
    when_busy: WhenBusy = "queue"
    id: str | None = None
    deadline_ms: Annotated[int, msgspec.Meta(ge=0, le=2**53)] | None = None
    wait_s: Annotated[float, msgspec.Meta(ge=0, le=MAX_WAIT_S)] = 30.0
    mode: Literal["wait", "stream", "accept"] = "wait"


class AnsweredSentence(msgspec.Struct, omit_defaults=True):
    """The answer: its text, and who gave it. `output` is what it is in a shape, if the agent answers with one."""

    id: str
    session: str
    run_id: str
    agent: str
    text: str
    stream: str
    output: Any = None


class _Peek(msgspec.Struct):
    text: msgspec.Raw | UnsetType = UNSET
    kind: msgspec.Raw | UnsetType = UNSET


_decode_sentence: msgspec.json.Decoder[SentenceBody] = msgspec.json.Decoder(SentenceBody)
_peek = msgspec.json.Decoder(_Peek).decode
_encode = msgspec.json.Encoder().encode


def is_sentence(body: bytes) -> bool:
    """Whether an intent's body is a sentence, and no call of an actor's method."""
    if b'"text"' not in body:
        return False
    try:
        found = _peek(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return b'"kind"' not in body  # either way it is refused: as what it was meant for
    return found.text is not UNSET and found.kind is UNSET


def sentence_of(body: bytes) -> SentenceBody:
    """A sentence's body, with a session. Raises CallFailed."""
    found = decoded(body, _decode_sentence)
    if (wrong := wrong_with(found.text)) is not None:
        raise CallFailed("bad_request" if not found.text.strip() else "too_large", wrong, path="$.text")
    found.session = found.session or f"s-{secrets.token_hex(8)}"
    return found


async def check(gateway: Gateway, client: Client, sentence: SentenceBody) -> None:
    """Raises CallFailed (unknown_kind, unknown_method) when pods say that nobody can answer it."""
    await gateway.check_method(client, KIND, SAY)
    await gateway.check_method(client, sentence.agent, "run")


def arguments_of(sentence: SentenceBody) -> bytes:
    """The arguments of the session's `say`."""
    return _encode(Say(sentence.text, sentence.agent, sentence.when_busy))


def id_of(request: AnyRequest, caller: Caller, client: Client, sentence: SentenceBody) -> str:
    """The message's id, which is its run's as well."""
    return command_id(request, caller, sentence.id) or client.new_id()


def run_of(client: Client, sentence: SentenceBody, id: str) -> Run:
    """The run that answers it."""
    assert sentence.session is not None
    return answering(client, sentence.session, sentence.agent, id)


async def wait(client: Client, sentence: SentenceBody, id: str, envelope: Envelope | None) -> Response[Any] | None:
    """The answer; None when it takes longer than the sentence's `wait_s`. Raises what `say` does."""
    assert sentence.session is not None
    end = asyncio.get_running_loop().time() + sentence.wait_s
    run = await say(
        client, sentence.session, sentence.text, agent=sentence.agent, when_busy=sentence.when_busy, id=id,
        timeout_s=max(sentence.wait_s, 1.0), envelope=envelope, checked=True,
    )  # fmt: skip
    status = await run.settled(max(end - asyncio.get_running_loop().time(), 0.0))
    if status.error is not None:
        return respond(status.error)
    if status.status != "done":
        return None
    found = answered(status.result)
    stream = f"/stream/{sentence.session}"
    return Json(_encode(AnsweredSentence(id, sentence.session, run.id, found.agent, found.text, stream, found.output)))
