"""The streams CMD, INTENT and EV: created when they are missing, and checked at every start.

A setting that a running system may change (sizes, ages, replicas) is not compared; one that would break a promise is.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import nats.errors
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig, StreamInfo, SubjectTransform
from nats.js.errors import BadRequestError, NotFoundError

from runtime.client.connection import Connection
from runtime.errors import Misconfigured, NotConnected
from schemas.subjects import ALL_EVENTS, CMD_STREAM, EV_STREAM, INTENT_LANES, INTENT_STREAM

CMD_SOURCE = "cmd.*.*.*.*"
INTENT_SOURCE = "intent.*.*"


@dataclasses.dataclass(frozen=True, slots=True)
class StreamSettings:
    """What the streams are made with. Sizes in bytes, ages in seconds."""

    partitions: int = 32
    replicas: int = 1
    cmd_max_bytes: int = 4 * 1024**3
    intent_max_bytes: int = 256 * 1024**2
    ev_max_bytes: int = 1024**3
    ev_max_age_s: float = 3600.0


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
            name=CMD_STREAM,
            subjects=[CMD_SOURCE],
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
            info = await _info_or_create(js, wanted)
        except (nats.errors.Error, OSError, TimeoutError) as error:
            said = str(error) or repr(error)
            raise NotConnected(f"stream {wanted.name} can be neither read nor made: {said}") from error
        if problems := differences(wanted, info.config):
            raise Misconfigured(
                f"stream {wanted.name} exists with other settings than this pod needs: {'; '.join(problems)}. "
                "Correct the stream, or point RUNTIME_NATS_URL at another broker"
            )


async def _info_or_create(js: JetStreamContext, wanted: StreamConfig) -> StreamInfo:
    assert wanted.name is not None
    try:
        return await js.stream_info(wanted.name)
    except NotFoundError:
        try:
            return await js.add_stream(wanted)
        except BadRequestError as error:
            if error.err_code != 10058:  # "stream name already in use": another pod was faster
                raise
            return await js.stream_info(wanted.name)


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
