"""Saying something to a session, and the run that answers it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from runtime.client.envelope import Envelope
from runtime.client.failures import decode_as, error_of
from runtime.errors import CallFailed
from schemas.conversation import KIND, ROUTER, SAY, Say, WhenBusy, run_key, wrong_with
from schemas.runs import encode_run_id

if TYPE_CHECKING:
    from runtime.client.client import Client
    from runtime.client.runs import Run


class Answered(msgspec.Struct):
    """What comes of a message: the answer's text, by whom, and what it is in a shape, if it has one."""

    text: str
    agent: str = ""
    output: Any = None


async def say(
    client: Client,
    session: str,
    text: str,
    *,
    agent: str = ROUTER,
    when_busy: WhenBusy = "queue",
    id: str | None = None,
    timeout_s: float = 30.0,
    envelope: Envelope | None = None,
    checked: bool = False,
) -> Run:
    """Says something to a session, by default to whom the router picks; gives the run whose result is the answer.

    `id` makes a repeat harmless; `checked` says that sessions and the agent are known to be served. Raises CallFailed:
    `bad_request` and `too_large` for what is no message, `unknown_kind` when nobody serves sessions or that agent,
    `timeout`; Rejected when the session refuses.
    """
    if (wrong := wrong_with(text)) is not None:
        raise CallFailed("bad_request" if not text.strip() else "too_large", wrong, path="$.text")
    id = id or client.new_id()
    said = Say(text, agent, when_busy)
    envelope = (envelope or Envelope())._replace(session=session)
    if not checked:
        await client.check_kind(agent)
        await client.check_kind(KIND)
    reply = await client.call(
        KIND, session, SAY, msgspec.json.encode(said), timeout_s=timeout_s, id=id, envelope=envelope
    )
    if reply.error is not None:
        raise error_of(reply.error)
    return answering(client, session, agent, id)


def answering(client: Client, session: str, agent: str, id: str) -> Run:
    """The run that answers the message of that id."""
    return client.run(encode_run_id(agent, run_key(session, id), id))


def answered(result: bytes | msgspec.Raw) -> Answered:
    """A run's result as an answer."""
    found: Answered = decode_as(msgspec.Raw(bytes(result)), Answered)
    return found
