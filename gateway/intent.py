"""Commands over HTTP: POST /intent (wait, stream or accept), POST /runs, POST /invoke/{function}."""

from __future__ import annotations

import secrets
from typing import Annotated, Any, Literal
from urllib.parse import quote

import msgspec
from litestar import Response, post
from litestar.openapi.datastructures import ResponseSpec

from gateway import sentences
from gateway.auth import Caller
from gateway.context import Gateway, command_id, decoded, gateway_of, json_body, travelling
from gateway.errors import ErrorDocument, respond
from gateway.responses import AnyRequest, Json, header
from gateway.sentences import SentenceBody
from gateway.sinks import EventStream, Sink, format_of, wants_stream
from gateway.streams import follow_command
from runtime.client import Client, Envelope, Run, starting
from runtime.client.feed import Watcher
from runtime.errors import CallFailed
from schemas import control
from schemas import headers as h
from schemas.conversation import KIND, SAY
from schemas.runs import encode_run_id

MAX_WAIT_S = 60.0
STORE_TIMEOUT_S = 10.0
TAGS = h.TAGS.lower().encode()
RUN = "run"
"""The one method of a function."""

Wait = Annotated[float, msgspec.Meta(ge=0, le=MAX_WAIT_S)]
Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class RunBody(msgspec.Struct, forbid_unknown_fields=True):
    """A command: `method` of the actor `kind`/`key` with `args`, which may be any JSON.

    `id` makes a repeat harmless: it is answered, not done again. `session` shows what comes of it to that session's
    watchers. `deadline_ms` is the Unix time in milliseconds after which it is no longer wanted; `start_at_ms` that
    before which it has no turn, which `delay_s` says in seconds from now.

    Of a run, `tags` are words to find it by; it is ended when it has not begun within `queue_timeout_s` seconds, or not
    ended, over all attempts, within `run_timeout_s`.
    """

    kind: str
    key: str
    method: str
    args: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)
    id: str | None = None
    session: str | None = None
    deadline_ms: Milliseconds | None = None
    delay_s: Annotated[float, msgspec.Meta(ge=0)] | None = None
    start_at_ms: Milliseconds | None = None
    tags: list[str] = []
    queue_timeout_s: float | None = None
    run_timeout_s: float | None = None


class IntentBody(RunBody, forbid_unknown_fields=True):
    """A command, and how to hear of it: `wait` up to `wait_s` seconds, `stream` its facts, or `accept` and go on."""

    wait_s: Wait = 10.0
    mode: Literal["wait", "stream", "accept"] = "wait"


class Answer(msgspec.Struct, omit_defaults=True):
    """What came of a command: its result, and the actor's sequence number after it.

    `repeated` says that the id was known and this is the answer recorded then.
    """

    id: str
    result: msgspec.Raw
    seq: int
    run_id: str
    repeated: bool = False


class Links(msgspec.Struct):
    """Where to look: `self` tells the run's status; `stream`, if the command has a session, its facts."""

    itself: str = msgspec.field(name="self")
    stream: str | None = None


class Accepted(msgspec.Struct):
    """The command is stored by the broker and will be processed."""

    run_id: str
    status: Literal["accepted"]
    links: Links


_decode_intent: msgspec.json.Decoder[IntentBody] = msgspec.json.Decoder(IntentBody)
_decode_run: msgspec.json.Decoder[RunBody] = msgspec.json.Decoder(RunBody)
_decode_any: msgspec.json.Decoder[Any] = msgspec.json.Decoder()
_encode = msgspec.json.Encoder().encode

ANSWERS = {
    200: ResponseSpec(Answer, description="The command's result", generate_examples=False),
    202: ResponseSpec(Accepted, description="The command is stored and goes on", generate_examples=False),
    400: ResponseSpec(ErrorDocument, description="The request, the address or the arguments", generate_examples=False),
    404: ResponseSpec(ErrorDocument, description="No such kind or method", generate_examples=False),
    409: ResponseSpec(ErrorDocument, description="Rejected, parked, or the id was reused", generate_examples=False),
    503: ResponseSpec(ErrorDocument, description="Not now; see Retry-After", generate_examples=False),
}


@post("/intent", status_code=200, responses=ANSWERS, summary="Call an actor")
async def post_intent(request: AnyRequest) -> Response[Any]:
    """Sends a command to an actor, and by default waits up to `wait_s` seconds for its result.

    With `text` in place of `kind`, `key` and `method` it is a sentence for whoever can answer it: it is said to the
    session, and the result is the answer. What takes longer goes on, and is answered with 202 and links. The header
    Idempotency-Key makes a repeat harmless.
    """
    gateway = gateway_of(request)
    client, caller = await gateway.admit(request)
    given = await json_body(request)
    if sentences.is_sentence(given):
        return await _say(gateway, client, request, caller, given)
    intent = decoded(given, _decode_intent)
    id = command_id(request, caller, intent.id)
    body = arguments(intent.args)
    await gateway.check_method(client, intent.kind, intent.method)
    if intent.mode == "accept" or (intent.mode == "wait" and intent.wait_s == 0):
        return await accept(client, intent, body, id, _envelope(request, caller, intent))
    if intent.mode == "stream":
        return await _stream(gateway, client, request, caller, intent, body, id)
    envelope = _envelope(request, caller, intent)
    return await wait(client, intent, body, id, envelope, intent.wait_s)


async def _say(
    gateway: Gateway, client: Client, request: AnyRequest, caller: Caller, given: bytes
) -> Response[Any]:
    """Says a sentence to its session."""
    sentence = sentences.sentence_of(given)
    id = sentences.id_of(request, caller, client, sentence)
    await sentences.check(gateway, client, sentence)
    said = RunBody(KIND, sentence.session or "", SAY, session=sentence.session, deadline_ms=sentence.deadline_ms)
    envelope = _envelope(request, caller, said) or Envelope()
    if sentence.mode == "wait" and sentence.wait_s > 0:
        answer = await sentences.wait(client, sentence, id, envelope)
        if answer is not None:
            return answer
        return accepted(sentences.run_of(client, sentence, id), sentence.session)
    if sentence.mode == "stream":
        return await _streamed(gateway, client, request, sentence, id, envelope)
    await client.submit_body(
        KIND, said.key, SAY, sentences.arguments_of(sentence), id=id, timeout_s=STORE_TIMEOUT_S, envelope=envelope
    )
    return accepted(sentences.run_of(client, sentence, id), sentence.session)


async def _streamed(
    gateway: Gateway, client: Client, request: AnyRequest, sentence: SentenceBody, id: str, envelope: Envelope
) -> EventStream:
    """The facts of the run that answers a sentence, until its result."""
    assert sentence.session is not None
    reader = await gateway.link.watch(client, sentence.session, "new")
    try:
        await client.submit_body(
            KIND, sentence.session, SAY, sentences.arguments_of(sentence), id=id, timeout_s=STORE_TIMEOUT_S,
            envelope=envelope,
        )  # fmt: skip
    except BaseException:
        await reader.close()
        raise
    run = sentences.run_of(client, sentence, id)
    return _following(gateway, request, reader, run, sentence.session, whole=True)


@post("/runs", status_code=202, responses={202: ANSWERS[202], 400: ANSWERS[400]}, summary="Submit a command")
async def post_run(request: AnyRequest) -> Response[Any]:
    """Stores a command and answers with links to its run, without waiting for the actor."""
    gateway = gateway_of(request)
    client, caller = await gateway.admit(request)
    run = decoded(await json_body(request), _decode_run)
    id = command_id(request, caller, run.id)
    body = arguments(run.args)
    await gateway.check_method(client, run.kind, run.method)
    return await accept(client, run, body, id, _envelope(request, caller, run))


class SignalWithStart(msgspec.Struct, forbid_unknown_fields=True):
    """A signal `name` with a value, for the run of workflow `kind` under `key`, or for one that begins with `args`.

    `id` makes a repeat harmless. The other fields are those of POST /runs, for the run that begins.
    """

    kind: str
    key: str
    name: str
    value: Any = None
    args: Any = None
    id: str | None = None
    session: str | None = None
    tags: list[str] = []
    queue_timeout_s: float | None = None
    run_timeout_s: float | None = None


class Begun(msgspec.Struct):
    """The run that has the signal, and whether it began with this."""

    run_id: str
    started: bool
    links: Links


_decode_start: msgspec.json.Decoder[SignalWithStart] = msgspec.json.Decoder(SignalWithStart)


@post(
    "/signal-with-start",
    status_code=200,
    responses={200: ResponseSpec(Begun, description="Both are in the log", generate_examples=False), 409: ANSWERS[409]},
    summary="Send a workflow's run a signal, and start it if none goes on",
)
async def signal_with_start(request: AnyRequest) -> Response[Any]:
    """One message, once: no run can end between the signal and the start."""
    gateway = gateway_of(request)
    client, caller = await gateway.admit(request)
    wanted = decoded(await json_body(request), _decode_start)
    id = command_id(request, caller, wanted.id)
    await gateway.check_method(client, wanted.kind, RUN)
    run = RunBody(
        wanted.kind, wanted.key, RUN, session=wanted.session, tags=wanted.tags,
        queue_timeout_s=wanted.queue_timeout_s, run_timeout_s=wanted.run_timeout_s,
    )  # fmt: skip
    start = control.Start(wanted.name, wanted.value, wanted.args)
    envelope = _envelope(request, caller, run) or Envelope()
    begun = await starting.say(client, wanted.kind, wanted.key, start, id, MAX_WAIT_S, envelope)
    run_id = encode_run_id(wanted.kind, wanted.key, begun.run)
    return Json(_encode(Begun(run_id, begun.started, links_of(run_id, wanted.session))))


@post("/invoke/{function:str}", status_code=200, responses=ANSWERS, summary="Run a function")
async def invoke(
    request: AnyRequest, function: str, wait_s: float = 10.0, key: str | None = None, delay_s: float | None = None
) -> Response[Any]:
    """Runs a function; the body is its arguments. What takes longer than `wait_s` seconds gets 202 and links.

    With `Accept: text/event-stream`, or NDJSON, the run's facts are streamed: what a generator yields as it goes on.
    `key` groups invocations in the log; by default each has its own. With `delay_s` it starts later: that gets 202.
    """
    gateway = gateway_of(request)
    client, caller = await gateway.admit(request)
    if not 0 <= wait_s <= MAX_WAIT_S:
        raise CallFailed("bad_request", f"wait_s is 0 to {MAX_WAIT_S:g} seconds", path="$.wait_s")
    id = command_id(request, caller, None)
    body = arguments(await json_body(request))
    capability = await gateway.find_kind(client, function)
    if capability is not None and capability.type != "function":
        raise CallFailed("unknown_kind", f"{function!r} is not a function but of type {capability.type}: POST /intent")
    # A repeat must reach the actor that knows the id.
    own_key = key or id or secrets.token_hex(8)
    if wants_stream(request):
        intent = IntentBody(function, own_key, RUN, delay_s=delay_s)
        return await _stream(gateway, client, request, caller, intent, body, id)
    run = RunBody(function, own_key, RUN, delay_s=delay_s)
    envelope = _envelope(request, caller, run)
    if wait_s == 0 or delay_s:
        return await accept(client, run, body, id, envelope)
    return await wait(client, run, body, id, envelope, wait_s)


def arguments(raw: msgspec.Raw | bytes) -> bytes:
    """Arguments as the body of a command. Raises CallFailed for what no actor could read."""
    body = bytes(raw)
    if body:
        # Raw JSON was only skipped over: a lone surrogate or a number out of range in it is found here.
        try:
            _decode_any.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise CallFailed("bad_request", f"the arguments are not valid JSON: {error}", path="$.args") from error
    return body


async def wait(
    client: Client, run: RunBody, body: bytes, id: str | None, envelope: Envelope | None, wait_s: float
) -> Response[Any]:
    """The command's result, or 202 when it takes longer than `wait_s` seconds."""
    try:
        if envelope is None:
            reply = await client.call(run.kind, run.key, run.method, body, timeout_s=wait_s, id=id)
        else:
            reply = await client.call(run.kind, run.key, run.method, body, timeout_s=wait_s, id=id, envelope=envelope)
    except CallFailed as error:
        if error.code != "timeout" or not isinstance(error.details, dict):
            raise
        if error.details.get("stored"):
            known = client.run_of(run.kind, run.key, run.method, body, error.details["id"])
            return accepted(known, run.session)
        # 202 is a promise, so the broker must say that it has it; the same id makes the second copy harmless.
        return await accept(client, run, body, error.details["id"], envelope)
    if reply.error is not None:
        return respond(reply.error)
    run_id = client.run_of(run.kind, run.key, run.method, body, reply.id).id
    return Json(_encode(Answer(reply.id, reply.result, reply.seq, run_id, reply.repeated)))


async def accept(client: Client, run: RunBody, body: bytes, id: str | None, envelope: Envelope | None) -> Response[Any]:
    """202, once the broker has acknowledged the command."""
    submitted = await client.submit_body(
        run.kind, run.key, run.method, body, id=id, timeout_s=STORE_TIMEOUT_S, envelope=envelope or Envelope()
    )
    return accepted(submitted, run.session)


def accepted(run: Run, session: str | None) -> Response[Any]:
    """202 with links."""
    document = Accepted(run.id, "accepted", links_of(run.id, session))
    return Json(_encode(document), 202, {"Location": document.links.itself})


def links_of(run_id: str, session: str | None) -> Links:
    """Where to look for a run."""
    return Links(f"/runs/{run_id}", None if session is None else f"/stream/{quote(session, safe='')}")


async def _stream(
    gateway: Gateway,
    client: Client,
    request: AnyRequest,
    caller: Caller,
    intent: IntentBody,
    body: bytes,
    id: str | None,
) -> EventStream:
    """The facts of one command, until its result."""
    intent.session = intent.session or f"s-{secrets.token_hex(8)}"
    reader = await gateway.link.watch(client, intent.session, "new")  # before the command is sent: no fact is missed
    try:
        run = await client.submit_body(
            intent.kind,
            intent.key,
            intent.method,
            body,
            id=id,
            timeout_s=STORE_TIMEOUT_S,
            envelope=_envelope(request, caller, intent) or Envelope(),
        )
    except BaseException:
        await reader.close()
        raise
    return _following(gateway, request, reader, run, intent.session)


def _following(
    gateway: Gateway, request: AnyRequest, reader: Watcher, run: Run, session: str, *, whole: bool = False
) -> EventStream:
    begin = {"run_id": run.id, "session": session, "links": links_of(run.id, session)}

    async def produce(sink: Sink) -> None:
        await sink.event("run", _encode(begin))
        await follow_command(sink, reader, run, gateway.settings.heartbeat_s, whole=whole)

    return EventStream(gateway, format_of(request), produce, reader)


def _envelope(request: AnyRequest, caller: Caller, run: RunBody) -> Envelope | None:
    """What goes along with the command; None when that is nothing, which is the fast path."""
    headers = travelling(request)
    if run.deadline_ms is not None:
        headers[h.DEADLINE] = str(run.deadline_ms)
    later = run.delay_s is not None or run.start_at_ms is not None
    tags = run.tags or [tag for tag in (header(request, TAGS) or "").split(",") if tag]
    timed = run.queue_timeout_s is not None or run.run_timeout_s is not None
    plain = not headers and run.session is None and caller.principal is None
    if plain and not (later or tags or timed):
        return None
    start_at = None if run.start_at_ms is None else run.start_at_ms / 1000
    return Envelope(
        run.session,
        headers=headers,
        principal=caller.principal,
        roles=caller.roles,
        delay_s=run.delay_s,
        start_at=start_at,
        tags=tags,
        queue_timeout_s=run.queue_timeout_s,
        run_timeout_s=run.run_timeout_s,
    )
