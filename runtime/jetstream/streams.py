"""The streams CMD, INTENT and EV: created when they are missing, and checked at every start.

A setting that a running system may change (sizes, ages, replicas) is not compared; one that would break a promise is.

With streams of their own for some kinds, CMD cannot take `cmd.*.*.*.*` any more, since no two streams may overlap: it
takes a list of kinds, to which each pod adds its own.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import nats.errors
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig, StreamInfo, SubjectTransform
from nats.js.errors import BadRequestError, NotFoundError, ServerError

from runtime.client.connection import Connection
from runtime.errors import Misconfigured, NotConnected
from schemas.subjects import ALL_EVENTS, CMD_STREAM, EV_STREAM, INTENT_LANES, INTENT_STREAM

CMD_SOURCE = "cmd.*.*.*.*"
OVERLAPS = 10065
NO_STORE = 10049
"""What nats-server answers with while it still deletes what a stream of this name had on disk."""

CREATE_TRIES = 20
CREATE_AGAIN_S = 0.25
INTENT_SOURCE = "intent.*.*"


@dataclasses.dataclass(frozen=True, slots=True)
class StreamSettings:
    """What the streams are made with. Sizes in bytes, ages in seconds.

    `stream` is the CMD stream of a pod, and `kinds` those whose commands it needs there; `own_streams` is stream →
    kinds for all but CMD (see runtime.host.places).
    """

    partitions: int = 32
    stream: str = CMD_STREAM
    kinds: frozenset[str] = frozenset()
    own_streams: Mapping[str, frozenset[str]] = dataclasses.field(default_factory=dict)
    replicas: int = 1
    cmd_max_bytes: int = 4 * 1024**3
    intent_max_bytes: int = 256 * 1024**2
    ev_max_bytes: int = 1024**3
    ev_max_age_s: float = 3600.0


def subjects(settings: StreamSettings) -> list[str]:
    """What a pod's CMD stream must take."""
    if not settings.own_streams:
        return [CMD_SOURCE]
    return sorted(map(subject_of, settings.own_streams.get(settings.stream, settings.kinds)))


def subject_of(kind: str) -> str:
    """The commands of a kind."""
    return f"cmd.*.{kind}.*.*"


def configs(settings: StreamSettings) -> list[StreamConfig]:
    """The three streams as they should be."""
    common: dict[str, Any] = {
        "storage": StorageType.FILE,
        "num_replicas": settings.replicas,
        "allow_direct": True,
    }
    transform = SubjectTransform(
        src=CMD_SOURCE,
        dest=f"p.{{{{partition({settings.partitions},1,2,3)}}}}."
        "{{wildcard(1)}}.{{wildcard(2)}}.{{wildcard(3)}}.{{wildcard(4)}}",
    )
    return [
        # A full stream refuses new commands instead of dropping old ones: nothing that was stored is ever lost to room.
        StreamConfig(
            name=settings.stream,
            subjects=subjects(settings),
            retention=RetentionPolicy.LIMITS,
            discard=DiscardPolicy.NEW,
            max_bytes=settings.cmd_max_bytes,
            subject_transform=transform,
            **common,
        ),
        # An intent is deleted when it is acknowledged, so the stream holds what is still to be relayed, only.
        # Lanes let several intakes work side by side while one session's intents stay in order (actors/intake.py).
        StreamConfig(
            name=INTENT_STREAM,
            subjects=[INTENT_SOURCE],
            retention=RetentionPolicy.WORK_QUEUE,
            discard=DiscardPolicy.NEW,
            max_bytes=settings.intent_max_bytes,
            subject_transform=SubjectTransform(
                src=INTENT_SOURCE,
                dest=f"i.{{{{partition({INTENT_LANES},1,2)}}}}.{{{{wildcard(1)}}}}.{{{{wildcard(2)}}}}",
            ),
            **common,
        ),
        StreamConfig(
            name=EV_STREAM,
            subjects=[ALL_EVENTS],
            retention=RetentionPolicy.LIMITS,
            discard=DiscardPolicy.OLD,
            max_bytes=settings.ev_max_bytes,
            max_age=settings.ev_max_age_s,
            **common,
        ),
    ]


async def ensure(connection: Connection, settings: StreamSettings) -> None:
    """Creates what is missing and checks what exists.

    Raises Misconfigured saying which setting of which stream differs, and NotConnected when the broker does not answer.
    """
    js = connection.jetstream(timeout=5)
    for wanted in configs(settings):
        assert wanted.name is not None
        try:
            found = (await _info_or_create(js, wanted)).config
            if wanted.name == settings.stream and settings.own_streams:
                found = await _with_kinds(connection, settings, found)
        except (nats.errors.Error, OSError, TimeoutError) as error:
            said = str(error) or repr(error)
            raise NotConnected(f"stream {wanted.name} can be neither read nor made: {said}") from error
        if problems := differences(wanted, found):
            raise Misconfigured(
                f"stream {wanted.name} exists with other settings than this pod needs: {'; '.join(problems)}. "
                "Correct the stream, or point RUNTIME_NATS_URL at another broker"
            )


async def delete_all(connection: Connection) -> None:
    """Deletes CMD, INTENT and EV with all that is in them: for tests. Raises NotConnected."""
    js = connection.jetstream(timeout=30)
    for stream in (CMD_STREAM, INTENT_STREAM, EV_STREAM):
        try:
            await js.delete_stream(stream)
        except NotFoundError:
            pass
        except (nats.errors.Error, ServerError, OSError, TimeoutError) as error:
            raise NotConnected(f"stream {stream} cannot be deleted: {error!r}") from error


async def _with_kinds(connection: Connection, settings: StreamSettings, found: StreamConfig) -> StreamConfig:
    """The settings of a stream of some kinds, with those that it lacks added, and as if it had no others of CMD's."""
    stream, wanted, has = settings.stream, set(subjects(settings)), set(found.subjects or [])
    if CMD_SOURCE in has:
        raise Misconfigured(
            f"stream {stream} takes the commands of every kind, and RUNTIME_CMD_STREAMS gives some to streams of their "
            f"own: let {stream} take those of the kinds that stay, one subject a kind, as in `nats stream edit "
            f"{stream} --subjects {','.join(sorted(wanted))}`, or leave RUNTIME_CMD_STREAMS empty"
        )
    if stream != CMD_STREAM and has - wanted:
        raise Misconfigured(
            f"stream {stream} takes {', '.join(sorted(has - wanted))} too, and RUNTIME_CMD_STREAMS does not say so: a "
            "kind stays in its stream, where its commands are, so name all of the stream's kinds"
        )
    await add_subjects(connection, stream, wanted)
    return dataclasses.replace(found, subjects=sorted(wanted))


async def add_subjects(connection: Connection, stream: str, wanted: Iterable[str]) -> None:
    """Makes a stream take more subjects. Raises Misconfigured when another stream has them, NotConnected, TimeoutError.

    Two pods that do so at once may write over each other: the one that lost looks again (JetStreamCommands.state).
    """
    answer = await connection.request(f"$JS.API.STREAM.INFO.{stream}", b"", timeout=5)
    config = msgspec.json.decode(answer.data).get("config")
    if config is None:
        raise NotConnected(f"stream {stream} is not there")
    has = config.get("subjects") or []
    if CMD_SOURCE in has or set(wanted) <= set(has):
        return
    config["subjects"] = sorted({*has, *wanted})
    answer = await connection.request(f"$JS.API.STREAM.UPDATE.{stream}", msgspec.json.encode(config), timeout=5)
    error = msgspec.json.decode(answer.data).get("error")
    if error is not None and error.get("err_code") == OVERLAPS:
        raise Misconfigured(_overlap(stream, wanted))
    if error is not None:
        raise NotConnected(f"stream {stream} cannot take more kinds now: {error}")


def _overlap(stream: str, wanted: Iterable[str]) -> str:
    return (
        f"stream {stream} cannot take {', '.join(sorted(wanted))}: another stream of this broker takes some of that. "
        "Which stream a kind's commands go to is fixed once there are some: set RUNTIME_CMD_STREAMS as it was"
    )


async def _info_or_create(js: JetStreamContext, wanted: StreamConfig) -> StreamInfo:
    assert wanted.name is not None
    try:
        return await js.stream_info(wanted.name)
    except NotFoundError:
        try:
            return await _create(js, wanted)
        except BadRequestError as error:
            if error.err_code == OVERLAPS:
                raise Misconfigured(_overlap(wanted.name, wanted.subjects or [])) from error
            if error.err_code != 10058:  # "stream name already in use": another pod was faster
                raise
            return await js.stream_info(wanted.name)


async def _create(js: JetStreamContext, wanted: StreamConfig) -> StreamInfo:
    for _ in range(CREATE_TRIES - 1):
        try:
            return await js.add_stream(wanted)
        except ServerError as error:
            if error.err_code != NO_STORE:
                raise
            await asyncio.sleep(CREATE_AGAIN_S)
    return await js.add_stream(wanted)


def differences(wanted: StreamConfig, found: StreamConfig) -> list[str]:
    """What of `found` would break a promise, as sentences."""
    problems = []
    for name in ("subjects", "storage", "retention", "discard"):
        want, have = getattr(wanted, name), getattr(found, name)
        if _plain(want) != _plain(have):
            problems.append(f"{name} is {_plain(have)} and must be {_plain(want)}")
    want_dest = wanted.subject_transform.dest if wanted.subject_transform else None
    have_dest = found.subject_transform.dest if found.subject_transform else None
    if want_dest != have_dest:
        problems.append(
            f"the subject transform is {have_dest} and must be {want_dest} (the number of partitions is fixed when the "
            "stream is made: changing it would split a key's commands over two partitions)"
        )
    if wanted.name != EV_STREAM and found.max_age:
        problems.append(f"max_age is {found.max_age} s and must be 0: an age limit drops what nobody has processed")
    if wanted.name != EV_STREAM and (found.max_msgs_per_subject or -1) > 0:
        problems.append("max_msgs_per_subject is set: it drops what nobody has processed")
    return problems


def _plain(value: Any) -> Any:
    return getattr(value, "value", value)
