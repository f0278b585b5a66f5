"""The map from place to place: which CMD stream a kind's commands are in, and on which Postgres server a partition is.

A *place* is one stream and one server. A process runs one `Pod` for each place that its kinds need: a member of its
own, with its own consumers, leases, commit pipeline, timers and housekeeping, which needs no other server for its work.
So a server that is away stops its own partitions, and nothing else. What is asked of the log as a whole (reading it,
trimming a stream, groups) is asked of every server: see runtime/postgres/several.py.

Where a kind and a partition are is fixed once something is there: the streams and the databases say what they were made
for, and a pod that wants something else does not start (docs/adr/0014).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from runtime.errors import Misconfigured
from runtime.kind import Kind
from schemas.address import BadAddress, check_name
from schemas.subjects import CMD_STREAM, EV_STREAM, INTENT_STREAM

if TYPE_CHECKING:
    from runtime.host.settings import PodSettings

_BETWEEN_URLS = re.compile(r"\s+(?=postgres(?:ql)?://)")
_TAKEN = (CMD_STREAM, INTENT_STREAM, EV_STREAM)


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """One CMD stream and one Postgres server. `server` counts from 0; `servers` are the URLs of all, in order."""

    servers: tuple[str, ...]
    server: int = 0
    stream: str = CMD_STREAM
    own_streams: Mapping[str, frozenset[str]] = dataclasses.field(default_factory=dict)

    @property
    def url(self) -> str:
        """Where the server is."""
        return self.servers[self.server]

    @property
    def name(self) -> str:
        """What the database remembers itself as."""
        return f"{self.server + 1} of {len(self.servers)}"

    def group(self, name: str) -> str:
        """The group that reads this stream for the pods of group `name`. Raises Misconfigured."""
        if self.stream == CMD_STREAM:
            return name
        try:
            return check_name(f"{name}-{self.stream}", "group")
        except BadAddress as error:
            raise Misconfigured(f"{error}: shorten the group's name or that of stream {self.stream!r}") from error


@dataclasses.dataclass(frozen=True, slots=True)
class Places:
    """The whole map. `own_streams` is stream → the kinds whose commands it takes; CMD takes those of all others."""

    servers: tuple[str, ...]
    own_streams: Mapping[str, frozenset[str]]

    def stream_of(self, kind: str) -> str:
        """The stream of a kind's commands."""
        return stream_of(kind, self.own_streams)

    def needed(self, kinds: Iterable[str]) -> list[Place]:
        """The places in which these kinds are, server after server."""
        streams = sorted({self.stream_of(kind) for kind in kinds})
        return [
            Place(self.servers, server, stream, self.own_streams)
            for stream in streams
            for server in range(len(self.servers))
        ]


def stream_of(kind: str, own_streams: Mapping[str, frozenset[str]]) -> str:
    """The stream of a kind's commands, where these streams have kinds of their own."""
    return next((stream for stream, kinds in own_streams.items() if kind in kinds), CMD_STREAM)


def servers_of(postgres_url: str) -> tuple[str, ...]:
    """The URLs in a text, which spaces separate."""
    return tuple(_BETWEEN_URLS.split(postgres_url.strip()))


def server_of(partition: int, servers: int) -> int:
    """The server (from 0) of a partition, of so many."""
    return partition % servers


def places_of(settings: PodSettings) -> Places:
    """The map that `postgres_url` and `cmd_streams` describe. Raises Misconfigured."""
    servers = servers_of(settings.postgres_url)
    if len(servers) > settings.partitions:
        raise Misconfigured(
            f"RUNTIME_POSTGRES_URL names {len(servers)} servers for {settings.partitions} partitions: name fewer, "
            "since each needs one"
        )
    return Places(servers, _own_streams(settings.cmd_streams))


def split(settings: PodSettings, kinds: Iterable[Kind]) -> list[tuple[Place, PodSettings, list[Kind]]]:
    """What each `Pod` of a process gets: its place, its settings and its kinds. Raises Misconfigured."""
    places, kinds = places_of(settings), list(kinds)
    return [
        (
            place,
            dataclasses.replace(settings, postgres_url=place.url, group=place.group(settings.group)),
            [kind for kind in kinds if places.stream_of(kind.name) == place.stream],
        )
        for place in places.needed([kind.name for kind in kinds])
    ]


def only(settings: PodSettings, kinds: Iterable[str]) -> Place:
    """The one place of a `Pod` that is started alone. Raises Misconfigured when its kinds are in several."""
    found = places_of(settings).needed(kinds)
    if len(found) > 1 or found[0].stream != CMD_STREAM:
        raise Misconfigured("one Pod works in one place, and these settings name several: use runtime.host.pods.Pods")
    return found[0]


def _own_streams(text: str) -> dict[str, frozenset[str]]:
    """The streams of `ORDERS=order,shipment BANK=account`."""
    found: dict[str, frozenset[str]] = {}
    seen: set[str] = set()
    for part in text.split():
        stream, _, names = part.partition("=")
        kinds = [name for name in names.split(",") if name]
        try:
            check_name(stream, "stream")
            for kind in kinds:
                check_name(kind, "kind")
        except BadAddress as error:
            raise Misconfigured(f"RUNTIME_CMD_STREAMS={text!r}: {error}") from error
        if not kinds or stream in _TAKEN or stream in found or seen.intersection(kinds) or len(set(kinds)) < len(kinds):
            raise Misconfigured(
                f"RUNTIME_CMD_STREAMS={text!r} is no map: write each stream once, as STREAM=kind,kind, under a name "
                f"other than {', '.join(_TAKEN)}, and each kind once; separate streams by spaces"
            )
        seen.update(kinds)
        found[stream] = frozenset(kinds)
    return found
