"""A stream of the broker and the pull consumers on it, as far as the engine asks for them."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from tests.simulation.scheduler import EPOCH, Scheduler

CREATED = "2026-01-01T00:00:00Z"
NO_MESSAGE = b'{"error":{"code":404,"err_code":10037,"description":"no message found"}}'
DELETED = b"NATS/1.0 409 Consumer Deleted\r\nNats-Pending-Messages: %d\r\nNats-Pending-Bytes: 0\r\n\r\n"
EXPIRED = b"NATS/1.0 408 Request Timeout\r\nNats-Pending-Messages: %d\r\nNats-Pending-Bytes: 0\r\n\r\n"
COMPLETED = b"NATS/1.0 409 Message Size Exceeds MaxBytes\r\nNats-Pending-Messages: %d\r\nNats-Pending-Bytes: 0\r\n\r\n"

DIRECT = (
    b"Nats-Stream: %s\r\nNats-Subject: %s\r\nNats-Sequence: %d\r\nNats-Num-Pending: %d\r\n"
    b"Nats-Last-Sequence: %d\r\n\r\n"
)
"""What is added to a message's headers when it is read directly, in a batch."""
END_OF_BATCH = b"NATS/1.0 204 EOB\r\nNats-Num-Pending: %d\r\nNats-Last-Sequence: %d\r\n\r\n"
NOT_FOUND = b"NATS/1.0 404 Message Not Found\r\n\r\n"

Route = Callable[[str, str, bytes, bytes, str], bool]
"""Hands (subject, reply, body, header block, the subject that is shown) to who listens."""


class Message(NamedTuple):
    """A stored message; `at` in Unix nanoseconds."""

    seq: int
    at: int
    subject: str
    block: bytes
    body: bytes


class Pull:
    """A request for `left` messages, of at most `room` bytes."""

    __slots__ = ("beats_s", "left", "reply", "room")

    def __init__(self, reply: str, batch: int, room: int, beats_s: float) -> None:
        self.reply = reply
        self.left = batch
        self.room = room
        self.beats_s = beats_s


class Consumer:
    """A pull consumer without acknowledgements on the messages of one filter."""

    __slots__ = ("beating", "delivered", "filter", "name", "next_seq", "pulls", "seen_at")

    def __init__(self, name: str, filter: str, next_seq: int) -> None:
        self.name = name
        self.filter = filter
        self.next_seq = next_seq
        self.delivered = 0
        self.pulls: deque[Pull] = deque()
        self.seen_at = 0.0
        self.beating = False


class Asked(msgspec.Struct):
    """What a pull asks for; times in nanoseconds."""

    batch: int = 1
    max_bytes: int = 0
    expires: int = 0
    idle_heartbeat: int = 0


_asked = msgspec.json.Decoder(Asked).decode


class Stream:
    """One stream. `usual` gives the filter that most consumers of a message's subject have."""

    def __init__(self, scheduler: Scheduler, name: str, route: Route, usual: Callable[[str], str]) -> None:
        self.scheduler = scheduler
        self.name = name
        self.messages: dict[int, Message] = {}
        self.first_seq = 1
        self.last_seq = 0
        self._route = route
        self._usual = usual
        self._by_filter: dict[str, list[int]] = defaultdict(list)
        self._rare: list[str] = []
        self._consumers: dict[str, Consumer] = {}

    def of(self, filter: str) -> list[int]:
        """The sequences of the messages that a filter lets through."""
        seqs = self._by_filter.get(filter)
        if seqs is None:
            found = [seq for seq, message in self.messages.items() if matches(filter, message.subject)]
            seqs = self._by_filter[filter] = found
            if "*" in filter or filter != self._usual(filter):
                self._rare.append(filter)
        return seqs

    def append(self, subject: str, block: bytes, body: bytes) -> Message:
        """Stores a message, and gives it to who waits for it."""
        self.last_seq += 1
        at = int((EPOCH + self.scheduler.now) * 1e9) + self.last_seq
        message = self.messages[self.last_seq] = Message(self.last_seq, at, subject, block, body)
        usual = self._usual(subject)
        self._by_filter[usual].append(self.last_seq)
        for filter in self._rare:
            if matches(filter, subject):
                self._by_filter[filter].append(self.last_seq)
        for consumer in tuple(self._consumers.values()):
            if consumer.pulls and (consumer.filter == usual or matches(consumer.filter, subject)):
                self._feed(consumer)
        return message

    def purge(self, upto: int) -> None:
        """Deletes every message below `upto`."""
        for seq in range(self.first_seq, min(upto, self.last_seq + 1)):
            self.messages.pop(seq, None)
        self.first_seq = max(self.first_seq, min(upto, self.last_seq + 1))
        for filter, seqs in self._by_filter.items():
            self._by_filter[filter] = seqs[bisect_left(seqs, self.first_seq) :]

    def forget(self, newest: int) -> list[Message]:
        """Loses so many of the newest messages; their sequences are given out again."""
        lost = []
        for seq in range(max(self.first_seq, self.last_seq - newest + 1), self.last_seq + 1):
            lost.append(self.messages.pop(seq))
        self.last_seq -= len(lost)
        for filter, seqs in self._by_filter.items():
            self._by_filter[filter] = seqs[: bisect_left(seqs, self.last_seq + 1)]
        return lost

    def next(self, filter: str, seq: int) -> Message | None:
        """The first message that a filter lets through, from `seq` on."""
        for number in range(max(seq, self.first_seq), self.last_seq + 1):
            if matches(filter, self.messages[number].subject):
                return self.messages[number]
        return None

    def get(self, body: bytes) -> bytes:
        """What the API says of one message."""
        asked = msgspec.json.decode(body)
        subjects = asked.get("next_by_subj")
        found = self.messages.get(asked["seq"]) if subjects is None else self.next(subjects, asked["seq"])
        if found is None:
            return NO_MESSAGE
        seconds, fraction = divmod(found.at, 10**9)
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
        message = {"subject": found.subject, "seq": found.seq, "time": f"{moment}.{fraction:09d}Z"}
        if found.block:
            message["hdrs"] = found.block
        if found.body:
            message["data"] = found.body
        return msgspec.json.encode({"message": message})

    def page(self, body: bytes) -> list[tuple[bytes, bytes]]:
        """(header block, body) of each message that a batched direct read gives, and of the one that ends it."""
        asked = msgspec.json.decode(body)
        seqs = self.of(asked["next_by_subj"])
        index, room, last = bisect_left(seqs, asked["seq"]), asked["max_bytes"], 0
        page: list[tuple[bytes, bytes]] = []
        while index < len(seqs) and len(page) < asked["batch"] and room > 0:
            found = self.messages[seqs[index]]
            index += 1
            room -= len(found.body) + len(found.block)
            own = DIRECT % (self.name.encode(), found.subject.encode(), found.seq, len(seqs) - index, last)
            page.append(((found.block[:-2] if found.block else b"NATS/1.0\r\n") + own, found.body))
            last = found.seq
        page.append((END_OF_BATCH % (len(seqs) - index, last) if page else NOT_FOUND, b""))
        return page

    def info(self) -> bytes:
        """What the API says of the stream."""
        state = {"first_seq": self.first_seq, "last_seq": self.last_seq, "messages": len(self.messages)}
        return msgspec.json.encode({"created": CREATED, "state": state})

    # -- consumers --------------------------------------------------------------------------------------------------

    def create(self, consumer: Consumer) -> None:
        """A new consumer."""
        self._consumers[consumer.name] = consumer

    def delete(self, name: str) -> None:
        """Ends a consumer; who waits for it is told."""
        consumer = self._consumers.pop(name, None)
        for pull in consumer.pulls if consumer is not None else ():
            self._route(pull.reply, "", b"", DELETED % pull.left, "")

    def lose_consumers(self) -> None:
        """They were in memory, and the server ended."""
        self._consumers.clear()

    def pull(self, name: str, body: bytes, reply: str) -> bool:
        """A consumer is asked for messages; False when there is none of that name."""
        consumer = self._consumers.get(name)
        if consumer is None:
            return False
        asked = _asked(body)
        pull = Pull(reply, asked.batch, asked.max_bytes or 2**40, asked.idle_heartbeat / 1e9)
        consumer.pulls.append(pull)
        self._feed(consumer)
        if pull in consumer.pulls:
            if asked.expires:
                self.scheduler.after(asked.expires / 1e9, lambda: self._expire(consumer, pull))
            if pull.beats_s and not consumer.beating:
                consumer.beating = True
                consumer.seen_at = self.scheduler.now
                self.scheduler.after(pull.beats_s, lambda: self._beat(consumer))
        return True

    def _expire(self, consumer: Consumer, pull: Pull) -> None:
        if self._consumers.get(consumer.name) is consumer and pull in consumer.pulls:
            consumer.pulls.remove(pull)
            self._route(pull.reply, "", b"", EXPIRED % pull.left, "")

    def _feed(self, consumer: Consumer) -> None:
        seqs = self.of(consumer.filter)
        index = bisect_left(seqs, consumer.next_seq)
        while consumer.pulls and index < len(seqs):
            message = self.messages[seqs[index]]
            pull = consumer.pulls[0]
            pull.room -= len(message.subject) + len(message.block) + len(message.body)
            if pull.room < 0:
                consumer.pulls.popleft()
                self._route(pull.reply, "", b"", COMPLETED % pull.left, "")
                continue
            index += 1
            consumer.next_seq = message.seq + 1
            pull.left -= 1
            if pull.left == 0:
                consumer.pulls.popleft()
            consumer.delivered += 1
            consumer.seen_at = self.scheduler.now
            place = f"{message.seq}.{consumer.delivered}.{message.at}.{len(seqs) - index}"
            reply = f"$JS.ACK.{self.name}.{consumer.name}.1.{place}"
            self._route(pull.reply, reply, message.body, message.block, message.subject)

    def _beat(self, consumer: Consumer) -> None:
        if self._consumers.get(consumer.name) is not consumer or not consumer.pulls:
            consumer.beating = False
            return
        pull = consumer.pulls[0]
        idle = self.scheduler.now - consumer.seen_at
        if idle >= pull.beats_s - 1e-6:
            consumer.seen_at = self.scheduler.now
            block = b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: %d\r\n\r\n" % consumer.delivered
            self._route(pull.reply, "", b"", block, "")
            idle = 0.0
        self.scheduler.after(pull.beats_s - idle, lambda: self._beat(consumer))


def matches(filter: str, subject: str) -> bool:
    """Whether a filter with NATS' wildcards lets a subject through."""
    if filter == subject:
        return True
    wanted, tokens = filter.split("."), subject.split(".")
    for number, token in enumerate(wanted):
        if token == ">":
            return len(tokens) > number
        if number >= len(tokens) or token not in ("*", tokens[number]):
            return False
    return len(tokens) == len(wanted)
