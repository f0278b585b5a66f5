"""The broker's server: stream CMD with its partitions, pull consumers, stream EV, and subjects that nobody stores.

Only what the engine asks of NATS, with the answers that its adapters read. No test compares it with nats-server itself:
what the adapters make of the real one is tested in tests/host/test_reader.py and tests/host/test_broker.py.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from schemas import headers as names
from schemas.address import partition_of
from tests.simulation.scheduler import EPOCH, Scheduler

if TYPE_CHECKING:
    from tests.simulation.wire import Wire

HEARTBEAT_S = 1.0
NO_RESPONDERS = b"NATS/1.0 503\r\n\r\n"
_FULL = b'{"stream":"CMD","error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"}}'
_NO_MESSAGE = b'{"error":{"code":404,"err_code":10037,"description":"no message found"}}'
_NEXT = "$JS.API.CONSUMER.MSG.NEXT.CMD."
_DELETE = "$JS.API.CONSUMER.DELETE.CMD."
_GET = "$JS.API.STREAM.MSG.GET.CMD"
_ID = f"{names.ID}: ".encode()

Receiver = Callable[[str, str, bytes, bytes], None]


class Message(NamedTuple):
    """A stored message; `at` in Unix nanoseconds, `number` counts all that were ever stored."""

    seq: int
    at: int
    subject: str
    kind: str
    block: bytes
    body: bytes
    number: int


class Consumer:
    """A pull consumer without acknowledgements on one partition."""

    __slots__ = ("beating", "delivered", "name", "next_seq", "partition", "pulls", "seen_at", "wire")

    def __init__(self, name: str, wire: Wire, partition: int, next_seq: int) -> None:
        self.name = name
        self.wire = wire
        self.partition = partition
        self.next_seq = next_seq
        self.delivered = 0
        self.pulls: deque[list[object]] = deque()
        self.seen_at = 0.0
        self.beating = False


class Broker:
    """One server."""

    def __init__(self, scheduler: Scheduler, partitions: int) -> None:
        self.scheduler = scheduler
        self.partitions = partitions
        self.up = True
        self.full = False
        self.drop_p = 0.0
        """The chance that one message to somebody is lost, as when a server of a cluster is replaced."""
        self.twice_p = 0.0
        """The chance that a message is stored twice, as when a publisher repeats what was not acknowledged."""
        self.wires: list[Wire] = []
        self.messages: dict[int, Message] = {}
        self.first_seq = 1
        self.last_seq = 0
        self.facts: dict[str, tuple[str, bytes]] = {}
        self.numbers: dict[tuple[str, str], int] = {}
        """(subject up to the method, command id) → number of the first message that was stored for it."""
        self.lost: set[str] = set()
        """Ids of commands that were acknowledged and lost in a power cut."""
        self._by_partition: dict[int, list[int]] = defaultdict(list)
        self._consumers: dict[str, Consumer] = {}
        self._subscriptions: dict[str, list[tuple[Wire, Receiver, str]]] = defaultdict(list)
        self._number = 0

    # -- subjects ---------------------------------------------------------------------------------------------------

    def subscribe(self, wire: Wire, pattern: str, receiver: Receiver, queue: str) -> None:
        """Hands what matches `pattern` to a node; of a queue's members one gets it."""
        self._subscriptions[pattern].append((wire, receiver, queue))

    def subscribe_anew(self, wire: Wire, patterns: list[tuple[str, Receiver, str]]) -> None:
        """Exactly these are a node's subscriptions: it has connected anew."""
        for pattern, found in self._subscriptions.items():
            self._subscriptions[pattern] = [one for one in found if one[0] is not wire]
        for pattern, receiver, queue in patterns:
            self.subscribe(wire, pattern, receiver, queue)

    def unsubscribe(self, wire: Wire, pattern: str, receiver: Receiver) -> None:
        """Ends a subscription."""
        self._subscriptions[pattern] = [
            one for one in self._subscriptions[pattern] if one[0] is not wire or one[1] is not receiver
        ]

    def receive(self, wire: Wire, subject: str, body: bytes, block: bytes, reply: str) -> None:
        """A message has come in."""
        if subject.startswith("cmd."):
            self._store(subject, body, block, reply)
        elif subject.startswith("ev."):
            self._keep_fact(subject, body, block, reply)
        elif subject.startswith(_NEXT):
            self._pull(subject[len(_NEXT) :], body, reply)
        elif subject.startswith(_DELETE):
            self._consumers.pop(subject[len(_DELETE) :], None)
        elif subject == _GET:
            self.route(reply, "", self._get(body), b"")
        elif not self.route(subject, reply, body, block) and reply:
            self.route(reply, "", b"", NO_RESPONDERS)

    def route(self, subject: str, reply: str, body: bytes, block: bytes, shown: str = "") -> bool:
        """Hands a message to who listens on `subject`; `shown` is what it says its subject is."""
        found = self._subscriptions.get(subject)
        if not found:
            tokens = subject.split(".")
            if tokens[0] == "q":
                pattern = f"q.{tokens[1]}.*.{tokens[3]}.*.*"
            else:
                pattern = ".".join(tokens[:-1]) + ".*"
                if pattern not in self._subscriptions:
                    pattern = ".".join(tokens[:-2]) + ".*.*"
            found = self._subscriptions.get(pattern)
        taken = False
        queued: list[tuple[Wire, Receiver]] = []
        for wire, receiver, queue in found or ():
            if not wire.listens:
                continue
            if queue:
                queued.append((wire, receiver))
                continue
            taken = True
            wire.deliver(receiver, shown or subject, reply, body, block)
        if queued:
            wire, receiver = queued[int(self.scheduler.rng.random() * len(queued))]
            wire.deliver(receiver, shown or subject, reply, body, block)
        return taken or bool(queued)

    # -- stream CMD -------------------------------------------------------------------------------------------------

    def _store(self, subject: str, body: bytes, block: bytes, reply: str) -> None:
        if self.full:
            if reply:
                self.route(reply, "", _FULL, b"")
            return
        _, tenant, kind, token, method = subject.split(".")
        partition = partition_of(tenant, kind, token, self.partitions)
        twice = self.twice_p > 0 and self.scheduler.rng.random() < self.twice_p
        for _ in range(2 if twice else 1):
            self.last_seq += 1
            self._number += 1
            at = int((EPOCH + self.scheduler.now) * 1e9) + self._number
            stored = f"p.{partition}.{tenant}.{kind}.{token}.{method}"
            message = Message(self.last_seq, at, stored, kind, block, body, self._number)
            self.messages[self.last_seq] = message
            self._by_partition[partition].append(self.last_seq)
            self.numbers.setdefault((f"{tenant}/{kind}/{token}", id_of(block)), self._number)
        if self.scheduler.trace is not None:
            self.scheduler.say(f"broker stores {message.seq} {stored} {id_of(block)}")
        if reply:
            self.route(reply, "", b'{"stream":"CMD","seq":%d}' % self.last_seq, b"")
        for consumer in list(self._consumers.values()):
            if consumer.partition == partition and consumer.pulls:
                self._feed(consumer)

    def create(self, consumer: Consumer) -> None:
        """A new consumer."""
        self._consumers[consumer.name] = consumer

    def _pull(self, name: str, body: bytes, reply: str) -> None:
        consumer = self._consumers.get(name)
        if consumer is None:
            self.route(reply, "", b"", NO_RESPONDERS)
            return
        consumer.pulls.append([reply, msgspec.json.decode(body)["batch"]])
        self._feed(consumer)
        if consumer.pulls and not consumer.beating:
            consumer.beating = True
            consumer.seen_at = self.scheduler.now
            self.scheduler.after(HEARTBEAT_S, lambda: self._beat(consumer))

    def _feed(self, consumer: Consumer) -> None:
        seqs = self._by_partition[consumer.partition]
        index = bisect_left(seqs, consumer.next_seq)
        while consumer.pulls and index < len(seqs):
            message = self.messages[seqs[index]]
            index += 1
            consumer.next_seq = message.seq + 1
            pull = consumer.pulls[0]
            pull[1] -= 1  # type: ignore[operator]  # a count
            if pull[1] == 0:
                consumer.pulls.popleft()
            consumer.delivered += 1
            consumer.seen_at = self.scheduler.now
            place = f"{message.seq}.{consumer.delivered}.{message.at}.0"
            reply = f"$JS.ACK.CMD.{consumer.name}.1.{place}"
            self.route(str(pull[0]), reply, message.body, message.block, message.subject)

    def _beat(self, consumer: Consumer) -> None:
        if self._consumers.get(consumer.name) is not consumer or not consumer.pulls:
            consumer.beating = False
            return
        idle = self.scheduler.now - consumer.seen_at
        if idle >= HEARTBEAT_S - 1e-6:
            consumer.seen_at = self.scheduler.now
            block = b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: %d\r\n\r\n" % consumer.delivered
            self.route(str(consumer.pulls[0][0]), "", b"", block)
            idle = 0.0
        self.scheduler.after(HEARTBEAT_S - idle, lambda: self._beat(consumer))

    def _get(self, body: bytes) -> bytes:
        asked = msgspec.json.decode(body)
        subjects = asked.get("next_by_subj")
        found = self.messages.get(asked["seq"]) if subjects is None else self.next(subjects, asked["seq"])
        if found is None:
            return _NO_MESSAGE
        seconds, fraction = divmod(found.at, 10**9)
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
        return msgspec.json.encode(
            {"message": {"subject": found.subject, "seq": found.seq, "time": f"{moment}.{fraction:09d}Z"}}
        )

    def next(self, subjects: str, seq: int) -> Message | None:
        """The first message of `p.<partition>.>` or `p.<partition>.*.<kind>.*.*` from `seq` on; * is any partition."""
        tokens = subjects.split(".")
        kind = tokens[3] if len(tokens) > 3 else None
        numbers = range(self.partitions) if tokens[1] == "*" else (int(tokens[1]),)
        found: Message | None = None
        for number in numbers:
            seqs = self._by_partition[number]
            for index in range(bisect_left(seqs, seq), len(seqs)):
                message = self.messages[seqs[index]]
                if kind in (None, message.kind):
                    if found is None or message.seq < found.seq:
                        found = message
                    break
        return found

    def purge(self, upto: int) -> None:
        """Deletes every message below `upto`."""
        for seq in range(self.first_seq, min(upto, self.last_seq + 1)):
            self.messages.pop(seq, None)
        self.first_seq = max(self.first_seq, min(upto, self.last_seq + 1))
        for number, seqs in self._by_partition.items():
            self._by_partition[number] = seqs[bisect_left(seqs, self.first_seq) :]

    # -- stream EV --------------------------------------------------------------------------------------------------

    def _keep_fact(self, subject: str, body: bytes, block: bytes, reply: str) -> None:
        id = id_of(block, b"Nats-Msg-Id: ")
        self.facts.setdefault(id, (subject, body))
        if reply:
            self.route(reply, "", b'{"stream":"EV","seq":%d}' % len(self.facts), b"")

    # -- life -------------------------------------------------------------------------------------------------------

    def stop(self, *, forget: int = 0) -> None:
        """The server ends; with `forget`, the newest so many messages are lost with the machine's power."""
        self.up = False
        self._consumers.clear()
        for wire in self.wires:
            wire.drop()
        for seq in range(max(self.first_seq, self.last_seq - forget + 1), self.last_seq + 1):
            message = self.messages.pop(seq)
            _, partition, tenant, kind, token, _ = message.subject.split(".")
            self._by_partition[int(partition)].pop()
            place = (f"{tenant}/{kind}/{token}", id_of(message.block))
            if self.numbers.get(place) == message.number:
                del self.numbers[place]
            self.lost.add(place[1])
            self.last_seq = min(self.last_seq, seq - 1)

    def start(self) -> None:
        """The server is there again."""
        self.up = True


def id_of(block: bytes, name: bytes = _ID) -> str:
    """The value of a header."""
    at = block.find(name)
    return block[at + len(name) : block.index(b"\r\n", at)].decode() if at >= 0 else ""
