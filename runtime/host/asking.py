"""Executions that ask other actors: a client a tenant over the pod's connection, and the chain of who waits for whom.

An ask is a command like any other, in the stream before it is done, and its answer is one as well, to the execution
that asked: it travels by the outbox of the actor asked, is an event of the one that asks, and so outlives the pods on
either side. What is asked carries the chain of calls that wait for it, and the owner of a key that this very chain
holds refuses at once: it would wait for its caller, and its caller for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from runtime.client import Client
from runtime.client.connection import Connection
from runtime.client.envelope import Envelope
from runtime.client.failures import error_of
from runtime.clock import Clock
from runtime.errors import CallFailed
from runtime.failure import CYCLE
from runtime.host.catalogue import Catalogue
from runtime.host.command import Command
from runtime.host.identity import Identity
from runtime.host.items import Start
from runtime.mail import Mail
from runtime.sent import KINDS, Asker, Question, question_id
from schemas import chain, control, subjects
from schemas import headers as names
from schemas.chain import MAX_CALLS, Call
from schemas.digest import digest_of

T = TypeVar("T")

FULL_PAUSE_S = 0.2


class Asking:
    """The questions of one pod's executions."""

    def __init__(self, connection: Connection, clock: Clock, identity: Identity, catalogue: Catalogue) -> None:
        self._identity = identity
        self._catalogue = catalogue
        self._connection = connection
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._clients: dict[str, asyncio.Task[Client]] = {}

    def asker(self, start: Start, mail: Mail) -> Asker:
        """What the handler of an execution asks through, from the event loop of handlers."""
        command = start.command

        async def ask(question: Question) -> bytes:
            if question.method == KINDS:
                return await self._from_handler(self._catalogue.kinds())
            if question.reads:
                return await self._from_handler(self._read(command.address.tenant, question))
            calls = (*_chain(command), Call.of(command.address, command.method, holds=start.holds))
            if len(calls) > MAX_CALLS:
                raise CallFailed(CYCLE, f"{chain.shown(calls)}: more than {MAX_CALLS} calls wait for one another")
            envelope = self._envelope(start, calls, question)
            sent: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            id = question.id
            origins = start.origins if question.address.kind != command.headers.get(names.PERMIT) else ()
            if origins and not mail.has_answer(id):
                aliases = (question_id(*origin, question.asked) for origin in origins)
                id = next((alias for alias in aliases if mail.has_answer(alias)), id)
            if not mail.has_answer(id):
                sent = self._from_handler(self._send(command.address.tenant, envelope, question))
            try:
                answer = await mail.answer(
                    id, digest_of(question.method, question.body), sent, question.timeout_s
                )
            finally:
                sent.cancel()
            if answer.error is not None:
                raise error_of(answer.error)
            return bytes(answer.value)

        return ask

    def _envelope(self, start: Start, calls: tuple[Call, ...], question: Question) -> Envelope:
        """What goes along: who sends, for whom and with which of the caller's headers it does, and who waits."""
        command, turn = start.command, start.turn
        headers = names.travelling(command.headers) | {
            names.CAUSATION: command.id,
            names.CHAIN: chain.header_of(calls),
            names.ANSWER: control.return_address(command.address, command.id),
        }
        subject = subjects.command(question.address, question.method)
        headers |= self._identity.prove(command.address, subject, question.id, question.body)
        headers |= self._identity.hand_on(subject, question.id, question.body, turn.principal, turn.roles)
        return Envelope(command.session, command.headers.get(names.CORRELATION, command.id), headers=headers)

    def _from_handler(self, job: Coroutine[Any, Any, T]) -> asyncio.Future[T]:
        return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(job, self._loop))

    async def close(self) -> None:
        """Fails what is still asked."""
        for opening in self._clients.values():
            if opening.done() and not opening.cancelled() and opening.exception() is None:
                await opening.result().close()
            else:
                opening.cancel()

    async def _send(self, tenant: str, envelope: Envelope, question: Question) -> None:
        """Stores a question; its answer comes to the execution as a command, wherever that runs by then."""
        _, kind, key = question.address
        client = await self._client(tenant)
        until = self._clock.monotonic() + question.timeout_s
        while True:
            left_s = until - self._clock.monotonic()
            try:
                await client.submit_body(
                    kind, key, question.method, question.body, id=question.id, timeout_s=left_s, envelope=envelope
                )
                return
            except CallFailed as error:
                # There will be room again: what the outbox waits for must not cost an execution its attempts.
                if error.code != "stream_full" or left_s < FULL_PAUSE_S:
                    raise
            await asyncio.sleep(FULL_PAUSE_S)

    async def _read(self, tenant: str, question: Question) -> bytes:
        """What a query answers."""
        _, kind, key = question.address
        client = await self._client(tenant)
        reply = await client.read(kind, key, question.method, question.body, timeout_s=question.timeout_s)
        return bytes(reply.result)

    async def _client(self, tenant: str) -> Client:
        opening = self._clients.get(tenant)
        if opening is None or (opening.done() and (opening.cancelled() or opening.exception() is not None)):
            opening = self._clients[tenant] = asyncio.ensure_future(self._open(tenant))
        return await asyncio.shield(opening)

    async def _open(self, tenant: str) -> Client:
        client = Client(self._connection, tenant, self._clock)
        await client.open()
        return client


def cycle_of(command: Command) -> str | None:
    """Why a command to a key that is held, and that needs it to itself, would wait for itself; None if it would not."""
    calls = _chain(command)
    return chain.refusal(calls, Call.of(command.address, command.method, holds=True)) if calls else None


def _chain(command: Command) -> tuple[Call, ...]:
    header = command.headers.get(names.CHAIN)
    return () if header is None else chain.parse(header)
