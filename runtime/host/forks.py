"""A run that begins with what another one has recorded (`Troupe-Fork`): that one's journal is copied up to a step.

A fork is a command like any other, with an id of its own. Before its handler begins, its pod writes into its journal
what the other one had completed before the step that is named, in pages, and a mark that says where it comes from; so
it replays as if it had done all of that itself. The other one is only read.

A fork begins as the other one was when the last step that is copied was recorded: signals that had come by then and
were not taken are copied as well, later ones are not. Nor are cancellations, and updates: who sent one waits for the
other one's answer. Nor is the permit of a function with limits. Answers to `ctx.ask` of a function or handler are
found under the ids that the other one asked with (`origins`); those of a workflow are entries.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import msgspec

from runtime.arguments import encode_json
from runtime.host.items import Start, Step
from runtime.host.ports import LogUnavailable
from runtime.journal import CANCELLED, STEP, Entry, entries_of
from runtime.kind import SYSTEM_EVENT_PREFIX
from runtime.limits import PERMIT
from runtime.mail import ANSWER, SIGNAL, UPDATE
from schemas.address import Address, actor_id, encode_token, partition_of
from schemas.control import parse_fork
from schemas.headers import FORK

_log = logging.getLogger("troupe.executions")

RETRY_S = 0.2

FORKED = "$forked"
"""The entry that says what a run was forked from. No handler asks for it."""

PAGE = 2000
"""Events copied by one commit, which must not take long."""

Stored = tuple[int, str, str]
"""(sequence, type, payload) of an event of a journal."""

_STEP = SYSTEM_EVENT_PREFIX + STEP
_SIGNAL = SYSTEM_EVENT_PREFIX + SIGNAL
_ANSWER = SYSTEM_EVENT_PREFIX + ANSWER
_TAKING = (f"${SIGNAL} ", f"${UPDATE} ")
_PERMITTED = f"${SIGNAL} {PERMIT}"


class Origin(NamedTuple):
    """The run that another one was forked from, and the number of its step at which."""

    address: Address
    run: str
    at: int

    @property
    def actor(self) -> str:
        """The actor's id in the log."""
        return actor_id(self.address.tenant, self.address.kind, encode_token(self.address.key))

    @classmethod
    def of(cls, tenant: str, header: str) -> Origin:
        """What a header `Troupe-Fork` says. Raises ValueError."""
        return cls(*parse_fork(tenant, header))


class JournalSource(Protocol):
    """Reading the log; see runtime.postgres.reading.PostgresReader."""

    async def journal(self, actor: str, partition: int, command_id: str, after: int = 0) -> list[Stored]:
        """The events of a command's execution behind `after`, in order. Raises LogUnavailable."""


class Forks:
    """Those of one pod's executions. `put` puts a Step into the next batch."""

    def __init__(self, source: JournalSource, put: Callable[[Step], None], partitions: int) -> None:
        self._source = source
        self._put = put
        self._partitions = partitions

    async def begun(self, start: Start, events: list[Stored]) -> list[Stored]:
        """The journal of a fork, whose own `events` so far are given, with all that it begins with.

        Raises CancelledError when the lane is another pod's now, BadResult when the log does not take what is copied.
        """
        command = start.command
        mark = mark_of(events)
        if mark is None or _steps(events) - 1 < mark.steps:
            origin = Origin.of(command.address.tenant, command.headers[FORK])
            token = encode_token(origin.address.key)
            partition = partition_of(command.address.tenant, origin.address.kind, token, self._partitions)
            theirs = await self._read(origin.actor, partition, origin.run)
            wanted = await asyncio.to_thread(copied, theirs, origin, command.id)
            # The mark and what was said are one commit; where copying was cut off behind that, it goes on.
            head = 1 + sum(type_ != _STEP for type_, _ in wanted)
            if mark is None:
                await self._commit(start, wanted[:head])
            for at in range(head + max(_steps(events) - 1, 0), len(wanted), PAGE):
                await self._commit(start, wanted[at : at + PAGE])
            events = await self._read(command.actor, command.lane.partition, command.id)
            mark = mark_of(events)
        assert mark is not None
        start.origins = mark.origins
        return without_mark(events)

    async def _commit(self, start: Start, page: list[tuple[str, str]]) -> None:
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._put(Step(start.command.lane, start.command, None, answered, copied=page))
        await answered

    async def _read(self, actor: str, partition: int, run: str) -> list[Stored]:
        while True:
            try:
                return await self._source.journal(actor, partition, run)
            except LogUnavailable as error:
                _log.warning("the journal of run %s cannot be read yet: %s", run, error)
                await asyncio.sleep(RETRY_S)


class Mark(msgspec.Struct, omit_defaults=True):
    """What the mark of a fork says: whom it was forked from, and how many steps follow.

    `origins` are (actor, run) of all whose answers it may use.
    """

    kind: str
    key: str
    run: str
    at: int
    steps: int
    origins: list[tuple[str, str]]


_decode_mark = msgspec.json.Decoder(Mark).decode


def _steps(events: Sequence[Stored]) -> int:
    """How many steps a journal has, and with them its mark."""
    return sum(type_ == _STEP for _, type_, _ in events)


def mark_of(events: Sequence[Stored]) -> Mark | None:
    """The mark in a run's own journal, if its fork has begun."""
    for entry in entries_of([payload for _, type_, payload in events if type_ == _STEP and FORKED in payload]):
        if entry.step == FORKED:
            return _decode_mark(entry.result)
    return None


def without_mark(events: Sequence[Stored]) -> list[Stored]:
    """A journal as its handler replays it."""
    return [event for event in events if not (event[1] == _STEP and f'"{FORKED}"' in event[2] and _is_mark(event[2]))]


def copied(events: Sequence[Stored], origin: Origin, run: str) -> list[tuple[str, str]]:
    """(type, payload) that the run `run` begins with: a mark, what was said, and the entries before the step."""
    kept, last, before = _before(events, origin.at)
    entries = entries_of(kept)
    taken = {_seq_taken(entry) for entry in entries if entry.step.startswith(_TAKING)}
    said = [
        (type_, _for_run(payload, run))
        for seq, type_, payload in events
        if (type_ == _SIGNAL and seq < last and seq not in taken and not _is_permit(payload))
        or (type_ == _ANSWER and seq < before)
    ]
    # The permit was the other one's: this one asks for its own.
    own = [entry for entry in entries if entry.step != _PERMITTED]
    steps = [(_STEP, encode_json(_renewed(entry, run)).decode()) for entry in own]
    former = mark_of(events)
    origins = [(origin.actor, origin.run), *(former.origins if former is not None else ())]
    kind, key = origin.address.kind, origin.address.key
    mark = Mark(kind, key, origin.run, origin.at, len(steps), origins)
    entry = Entry(run, FORKED, 0, 1, concurrent=True, result=msgspec.Raw(encode_json(mark)))
    return [(_STEP, encode_json(entry).decode()), *said, *steps]


def _before(events: Sequence[Stored], at: int) -> tuple[list[str], int, int]:
    """The entries before the step number `at` (from 1), the sequence of the last of them, and that step's own.

    None behind the mark of a cancellation: nobody has cancelled the fork.
    """
    kept: list[str] = []
    last = 0
    for seq, type_, payload in events:
        if type_ != _STEP or _is_mark(payload):
            continue
        if len(kept) + 1 >= at or entries_of([payload])[0].step == CANCELLED:
            return kept, last, seq
        kept.append(payload)
        last = seq
    return kept, last, events[-1][0] + 1 if events else 0


def _is_mark(payload: str) -> bool:
    return FORKED in payload and entries_of([payload])[0].step == FORKED


class _Named(msgspec.Struct):
    name: str = ""


_decode_named = msgspec.json.Decoder(_Named).decode


def _is_permit(signal: str) -> bool:
    return PERMIT in signal and _decode_named(signal).name == PERMIT


class _Taken(msgspec.Struct):
    seq: int = 0


_decode_taken = msgspec.json.Decoder(_Taken).decode


def _seq_taken(entry: Entry) -> int:
    return _decode_taken(entry.result).seq


def _renewed(entry: Entry, run: str) -> Entry:
    """The entry as one of another run. The place of a message that it took means nothing there, but that it is one."""
    entry.run = run
    if entry.step.startswith(_TAKING):
        result = msgspec.json.decode(entry.result)
        if result.get("seq"):
            entry.result = msgspec.Raw(encode_json(result | {"seq": -result["seq"]}))
    return entry


def _for_run(payload: str, run: str) -> str:
    return encode_json(msgspec.json.decode(payload) | {"run": run}).decode()
