"""Streams that exist with other settings than a pod needs: it says what differs, and does not start."""

from __future__ import annotations

import dataclasses
from typing import Any

import nats
import pytest
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, SubjectTransform

from runtime.errors import Misconfigured
from runtime.host.pod import Pod
from runtime.jetstream.streams import StreamSettings, configs
from tests.support.kinds import counter
from tests.support.system import System, run

LANES_OF_4 = SubjectTransform(src="intent.*.*", dest="i.{{partition(4,1,2)}}.{{wildcard(1)}}.{{wildcard(2)}}")

BREAKING: list[tuple[str, dict[str, Any], str]] = [
    ("INTENT", {"retention": RetentionPolicy.LIMITS}, "retention is limits and must be workqueue"),
    ("INTENT", {"discard": DiscardPolicy.OLD}, "discard is old and must be new"),
    ("INTENT", {"storage": StorageType.MEMORY}, "storage is memory and must be file"),
    ("INTENT", {"max_age": 60.0}, "max_age is 60"),
    ("INTENT", {"max_msgs_per_subject": 3}, "max_msgs_per_subject is set"),
    ("INTENT", {"subject_transform": None}, "the subject transform is None and must be i.{{partition(16"),
    ("INTENT", {"subject_transform": LANES_OF_4}, "the subject transform is i.{{partition(4"),
    ("INTENT", {"subjects": ["intent.acme.*"], "subject_transform": None}, "subjects is ['intent.acme.*']"),
    ("EV", {"retention": RetentionPolicy.INTEREST}, "retention is interest and must be limits"),
    ("EV", {"storage": StorageType.MEMORY}, "storage is memory and must be file"),
    ("EV", {"discard": DiscardPolicy.NEW}, "discard is new and must be old"),
    ("EV", {"subjects": ["ev.*.*", "events.>"]}, "subjects is ['ev.*.*', 'events.>'] and must be ['ev.*.*']"),
    (
        "EV",
        {"subject_transform": SubjectTransform(src="ev.*.*", dest="e.{{wildcard(1)}}.{{wildcard(2)}}")},
        "the subject transform is e.",
    ),
]


async def make(system: System, stream: str, **differing: Any) -> None:
    """Makes a stream as it should be, but for some settings."""
    (config,) = [one for one in configs(StreamSettings(partitions=system.partitions)) if one.name == stream]
    connection = await nats.connect(system.nats_url)
    await connection.jetstream().add_stream(dataclasses.replace(config, **differing))
    await connection.close()


@pytest.mark.parametrize(("stream", "differing", "said"), BREAKING, ids=[f"{s}-{'-'.join(d)}" for s, d, _ in BREAKING])
def test_given_a_stream_with_other_settings_when_a_pod_starts_then_the_error_says_what_differs_and_what_to_do(
    system: System, stream: str, differing: dict[str, Any], said: str
) -> None:
    async def scenario() -> str:
        await make(system, stream, **differing)
        with pytest.raises(Misconfigured) as caught:
            await Pod(system.settings(), [counter]).start()
        return str(caught.value)

    message = run(scenario())
    assert f"stream {stream} exists with other settings" in message
    assert said in message
    assert "Correct the stream" in message and "RUNTIME_NATS_URL" in message


def test_given_streams_of_other_sizes_and_ages_when_a_pod_starts_then_it_works_with_them(system: System) -> None:
    async def scenario() -> None:
        await make(system, "CMD", max_bytes=64 * 1024**2)
        await make(system, "INTENT", max_bytes=1024**2)
        await make(system, "EV", max_age=60.0, max_bytes=1024**2)
        async with system.pod(counter), system.client() as client:
            assert await client.ask(counter, "a", "add", {"amount": 1}) == 1

    run(scenario())
