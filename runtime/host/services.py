"""What any pod answers on `svc.<name>`: JSON in, a Reply in JSON out. Requests go to one of the pods."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import msgspec

from runtime.arguments import encode_json
from runtime.clock import Clock
from runtime.errors import CallFailed, Rejected, UnreadableEvent
from runtime.host import listing
from runtime.host.answers import Send, encode_reply
from runtime.host.desk import FULL, Desk
from runtime.host.ports import LogUnavailable
from runtime.host.reading import Groups, LogReader
from schemas.address import BadAddress, actor_id, encode_token, partition_of
from schemas.subjects import lanes_moved
from schemas.wire import Fact, Failure, Info, LogEvent

_log = logging.getLogger("troupe.services")

MAX_LIMIT = 1000
SHOWN_BYTES = 64 * 1024
"""What is shown of a dead letter's body."""


Number = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""What a bigint of the log can be compared with."""


class Question(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The fields that requests to services have; each service names those it needs."""

    tenant: str = "default"
    kind: str | None = None
    key: str | None = None
    session: str | None = None
    from_seq: Number = 1
    after: dict[str, Number] | None = None
    after_id: Number = 0
    after_key: tuple[str, str] = ("", "")
    id: Number | None = None
    status: str | None = None
    statuses: list[str] | None = None
    tag: str | None = None
    cursor: str | None = None
    run: str | None = None
    group: str | None = None
    by: str | None = None
    without_kinds: bool = False
    since: datetime.datetime | None = None
    until: datetime.datetime | None = None
    limit: int = 100


Answer = Callable[[Question], Awaitable[Any]]


class Services:
    """The services of one pod. `send` publishes a reply."""

    def __init__(
        self,
        reader: LogReader,
        groups: Groups,
        info: Info,
        post: Callable[[str, bytes], None],
        send: Send,
        clock: Clock,
    ) -> None:
        self._reader = reader
        self._groups = groups
        self._info = info
        self._post = post
        self._send = send
        self._clock = clock
        self._desk = Desk()
        self._answers: dict[str, Answer] = {
            "info": self._get_info,
            "capabilities": self._capabilities,
            "ready": self._ready,
            "session": self._session,
            "log": self._log_of_actor,
            "actors": self._actors,
            "dead": self._dead,
            "partitions": self._partitions,
            "groups": self._list_groups,
            "promote": self._promote,
            "retire": self._retire,
            "drop": self._drop,
            "runs": self._runs,
            "run": self._run,
        }

    @property
    def names(self) -> list[str]:
        """The services' names."""
        return list(self._answers)

    def on_message(self, subject: str, reply: str, body: bytes, block: bytes) -> None:
        """Receives a request."""
        if reply:
            if self._desk.full:
                self._post(reply, encode_reply("", 0, b"null", FULL))
            else:
                self._desk.serve(self._serve(subject.partition(".")[2], reply, body))

    async def _serve(self, name: str, reply: str, body: bytes) -> None:
        failure: Failure | None = None
        result: Any = None
        try:
            question = msgspec.json.decode(body or b"{}", type=Question)
            given = (*msgspec.structs.astuple(question), *(question.after or ()), *question.after_key)
            if any(isinstance(one, str) and "\0" in one for one in given):
                raise ValueError("a NUL, which nothing in the log holds")
            question.limit = max(1, min(question.limit, MAX_LIMIT))
            result = await self._answers[name](question)
        except msgspec.DecodeError as error:
            failure = Failure("bad_request", f"svc.{name}: {error}")
        except (BadAddress, ValueError) as error:
            failure = Failure("bad_request", f"svc.{name}: {error}")
        except LogUnavailable as error:
            failure = Failure("unavailable", str(error))
        except UnreadableEvent as error:  # of the archive: nobody's fault who asks
            failure = Failure("unreadable_log", str(error))
        except Rejected as error:
            failure = Failure("rejected", str(error))
        except CallFailed as error:
            failure = Failure(error.code, str(error).removeprefix(f"{error.code}: "))
        except Exception as error:
            _log.exception("svc.%s failed", name)
            failure = Failure("handler_failed", f"svc.{name}: {type(error).__name__}: {error}")
        answer = encode_reply("", 0, encode_json(result), failure)
        self._send(reply, answer, "", packed=False)

    async def _get_info(self, question: Question) -> Info:
        return self._info

    async def _capabilities(self, question: Question) -> Any:
        return await self._reader.capabilities()

    async def _ready(self, question: Question) -> Any:
        await self._reader.ready()
        pods = [pod for pod in await self._reader.pods() if pod["expires_in_s"] > 0]
        lanes = [lane for lane in await self._reader.partitions() if not lane["standby"]]
        owned = sum(1 for lane in lanes if lane["alive"])
        return {
            "nats": True,
            "postgres": True,
            "pods": len(pods),
            "partitions": len(lanes),
            "partitions_owned": owned,
            "warnings": await self._warnings(),
        }

    async def _warnings(self) -> list[str]:
        now = self._clock.now()
        away = [
            f"Postgres server {server} does not answer: what is in its partitions stands still until it does"
            for server in await self._reader.away()
        ]
        return away + [
            f"no pod of group {group!r} lives, and the stream has been kept for it for {now - since:.0f} s: start its "
            f"pods, or give it up with `runtime groups retire {group}`"
            for group, since in await self._reader.absent_groups()
        ]

    async def _retire(self, question: Question) -> Any:
        if question.group is None:
            raise ValueError("group is missing")
        done = await self._groups.retire(question.group)
        _log.warning("group %r is retired: the stream is not kept for it any more", done.group)
        return done._asdict()

    async def _session(self, question: Question) -> Any:
        if question.session is None:
            raise ValueError("session is missing")
        after = question.after or {}
        events = await self._reader.session(question.tenant, question.session, after, question.limit)
        return {"facts": [_fact(event) for event in events], "more": len(events) == question.limit}

    async def _log_of_actor(self, question: Question) -> Any:
        if question.after is not None:
            return await self._log_after(question, question.after)
        if question.kind is None or question.key is None:
            return {"events": await self._log_by_time(question)}
        token = encode_token(question.key)
        actor = actor_id(question.tenant, question.kind, token)
        partition = partition_of(question.tenant, question.kind, token, self._info.partitions)
        return {
            "events": await self._reader.actor(actor, partition, question.from_seq, question.limit, question.until)
        }

    async def _log_after(self, question: Question, after: dict[str, int]) -> Any:
        """Events beyond a position vector (lane as text → position), and the vector behind the last of them."""
        vector = {int(lane): position for lane, position in after.items()}
        events, reached = await self._reader.after(
            vector,
            question.limit,
            tenant=question.tenant,
            kind=question.kind,
            since=question.since,
            until=question.until,
        )
        return {"events": events, "position": reached, "more": len(events) == question.limit}

    async def _log_by_time(self, question: Question) -> list[LogEvent]:
        since = question.since or datetime.datetime.fromtimestamp(0, datetime.UTC)
        tomorrow = datetime.datetime.fromtimestamp(self._clock.now() + 86_400, datetime.UTC)
        until = question.until or tomorrow
        return await self._reader.by_time(
            since, until, tenant=question.tenant, kind=question.kind, limit=question.limit
        )

    async def _actors(self, question: Question) -> Any:
        found = await self._reader.actors(question.tenant, question.kind, question.after_key, question.limit)
        return {"actors": found, "more": len(found) == question.limit}

    async def _dead(self, question: Question) -> Any:
        if question.id is not None:
            letter = await self._reader.dead_letter(question.id, question.tenant)
            if letter is not None:
                letter["body_bytes"] = len(letter["body"])
                letter["body"] = letter["body"][:SHOWN_BYTES].decode("utf-8", "backslashreplace")
            return {"letter": letter}
        found = await self._reader.dead_letters(
            question.tenant, question.kind, question.key, question.status, question.after_id, question.limit
        )
        return {"letters": found, "more": len(found) == question.limit}

    async def _runs(self, question: Question) -> Any:
        wanted = listing.filter_of(
            question.statuses, question.kind, question.key, question.tag, question.since, question.cursor
        )
        return await listing.page(self._reader, question.tenant, wanted, question.limit)

    async def _run(self, question: Question) -> Any:
        """A run; `from_seq` is where its timeline begins."""
        if question.kind is None or question.key is None or question.run is None:
            raise ValueError("kind, key and run are needed")
        found = await listing.description(
            self._reader, question.tenant, question.kind, question.key, question.run, self._info.partitions,
            question.from_seq - 1, question.limit,
        )  # fmt: skip
        return {"run": found}

    async def _drop(self, question: Question) -> Any:
        if question.id is None:
            raise ValueError("id is missing")
        return {"dropped": await self._reader.drop_unserved(question.id, question.tenant, question.by)}

    async def _partitions(self, question: Question) -> Any:
        return {
            "partitions": await self._reader.partitions(),
            "pods": await self._reader.pods(),
            "warnings": await self._warnings(),
        }

    async def _list_groups(self, question: Question) -> Any:
        return {"groups": await self._groups.groups()}

    async def _promote(self, question: Question) -> Any:
        """Makes a group the current one of its kinds, and wakes the pods that are to let go of lanes or take them."""
        if question.group is None:
            raise ValueError("group is missing")
        done = await self._groups.promote(question.group, without_kinds=question.without_kinds)
        for group in (done.replaced, done.group):
            if group is not None:
                self._post(lanes_moved(group), b"")
        _log.info("group %s is the current one of %s", done.group, ", ".join(done.kinds))
        return done._asdict()


def _fact(event: LogEvent) -> Fact:
    place = f"{event.lane}:{event.position}"
    return Fact(
        "event", event.type, event.command_id, event.tenant, event.kind, event.key, event.seq, place, event.at,
        event.payload,
    )  # fmt: skip
