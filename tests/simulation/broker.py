"""The broker's server: streams CMD and EV, and subjects that nobody stores.

Only what the engine asks of NATS: tests/contracts/test_broker.py runs the same tests over it and over nats-server.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from schemas import headers as names
from schemas.address import partition_of
from schemas.subjects import CMD_STREAM, EV_STREAM
from tests.simulation.scheduler import Scheduler
from tests.simulation.streams import Consumer, Stream

if TYPE_CHECKING:
    from tests.simulation.wire import Wire

NO_RESPONDERS = b"NATS/1.0 503\r\n\r\n"
_FULL = b'{"stream":"CMD","error":{"code":400,"err_code":10077,"description":"maximum bytes exceeded"}}'
_API = "$JS.API."
_ID = f"{names.ID}: ".encode()
_MSG_ID = b"Nats-Msg-Id: "

Receiver = Callable[[str, str, bytes, bytes], None]


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
        self.commands = Stream(scheduler, CMD_STREAM, self.route, _partition_filter)
        self.facts = Stream(scheduler, EV_STREAM, self.route, str)
        self.numbers: dict[tuple[str, str], int] = {}
        """(actor's place, command id) → number of the first message that was stored for it."""
        self.lost: set[str] = set()
        """Ids of commands that were acknowledged and lost in a power cut."""
        self._streams = {stream.name: stream for stream in (self.commands, self.facts)}
        self.facts_once: set[tuple[str, int, bytes]] = set()
        """(subject, sequence, body) of every fact that was ever stored."""
        self._known_facts: dict[str, int] = {}
        self._number_of: dict[int, int] = {}
        self._subscriptions: dict[str, list[tuple[Wire, Receiver, str]]] = defaultdict(list)
        self._number = 0

    # -- subjects ---------------------------------------------------------------------------------------------------

    def subscribe(self, wire: Wire, pattern: str, receiver: Receiver, queue: str) -> None:
        """Hands what matches `pattern` to a node; of a queue's members one gets it."""
        # A client that connects anew says its subscriptions again, and perhaps one that it was just about to make.
        if (wire, receiver, queue) not in self._subscriptions[pattern]:
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
        elif subject.startswith(_API):
            self._asked(subject.split(".", 6), body, reply)
        elif not self.route(subject, reply, body, block) and reply:
            self.route(reply, "", b"", NO_RESPONDERS)

    def route(self, subject: str, reply: str, body: bytes, block: bytes, shown: str = "") -> bool:
        """Hands a message to who listens on `subject`; `shown` is what it says its subject is."""
        known = self._subscriptions
        found = known.get(subject)
        if not found:
            if subject.startswith("q."):
                tokens = subject.split(".")
                found = known.get(f"q.{tokens[1]}.*.{tokens[3]}.*.*")
            else:
                above = subject.rpartition(".")[0]
                found = known.get(above + ".*") or known.get(above.rpartition(".")[0] + ".*.*")
        if not found:
            return False
        taken = False
        queued: list[tuple[Wire, Receiver]] = []
        for wire, receiver, queue in found:
            if queue:
                if wire.listens:
                    queued.append((wire, receiver))
            elif wire.listens:
                taken = True
                wire.deliver(receiver, shown or subject, reply, body, block)
        if queued:
            wire, receiver = queued[int(self.scheduler.rng.random() * len(queued))]
            wire.deliver(receiver, shown or subject, reply, body, block)
        return taken or bool(queued)

    # -- streams ----------------------------------------------------------------------------------------------------

    def _asked(self, tokens: list[str], body: bytes, reply: str) -> None:
        """A request to the API: `$JS.API.CONSUMER.MSG.NEXT.CMD.name` and others."""
        what = ".".join(tokens[2:5])
        if what.startswith("DIRECT.GET."):
            for block, found in self._streams[tokens[4]].page(body):
                self.route(reply, "", found, block)
            return
        if what == "CONSUMER.MSG.NEXT":
            stream, _, name = tokens[5], "", tokens[6]
            if not self._streams[stream].pull(name, body, reply):
                self.route(reply, "", b"", NO_RESPONDERS)
            return
        if what.startswith("CONSUMER.CREATE."):
            config = msgspec.json.decode(body)["config"]
            consumer = Consumer(config["name"], config["filter_subject"], config["opt_start_seq"])
            self._streams[tokens[4]].create(consumer)
            answer = b'{"name":"%s"}' % consumer.name.encode()
        elif what.startswith("CONSUMER.DELETE."):
            self._streams[tokens[4]].delete(tokens[5])
            answer = b'{"success":true}'
        elif what == "STREAM.MSG.GET":
            answer = self._streams[tokens[5]].get(body)
        elif what.startswith("STREAM.INFO."):
            answer = self._streams[tokens[4]].info()
        else:
            raise AssertionError(f"the engine asks for what this broker does not know: {tokens}")
        if reply:
            self.route(reply, "", answer, b"")

    def _store(self, subject: str, body: bytes, block: bytes, reply: str) -> None:
        if self.full:
            if reply:
                self.route(reply, "", _FULL, b"")
            return
        _, tenant, kind, token, method = subject.split(".")
        partition = partition_of(tenant, kind, token, self.partitions)
        stored = f"p.{partition}.{tenant}.{kind}.{token}.{method}"
        id = id_of(block)
        place = (f"{tenant}/{kind}/{token}", id)
        twice = self.twice_p > 0 and self.scheduler.rng.random() < self.twice_p
        for _ in range(2 if twice else 1):
            self._number += 1
            self.numbers.setdefault(place, self._number)
            self._number_of[self.commands.last_seq + 1] = self._number
            message = self.commands.append(stored, block, body)
        if self.scheduler.trace is not None:
            self.scheduler.say(f"broker stores {message.seq} {stored} {id}")
        if reply:
            self.route(reply, "", b'{"stream":"CMD","seq":%d}' % message.seq, b"")

    def _keep_fact(self, subject: str, body: bytes, block: bytes, reply: str) -> None:
        id = id_of(block, _MSG_ID)
        known = self._known_facts.get(id) if id else None
        if known is not None:
            answer = b'{"stream":"EV","seq":%d,"duplicate":true}' % known
        else:
            message = self.facts.append(subject, block, body)
            self._known_facts[id] = message.seq
            self.facts_once.add((subject, message.seq, body))
            answer = b'{"stream":"EV","seq":%d}' % message.seq
        if reply:
            self.route(reply, "", answer, b"")

    # -- life -------------------------------------------------------------------------------------------------------

    def stop(self, *, forget: int = 0) -> None:
        """The server ends; with `forget`, the newest so many messages are lost with the machine's power."""
        self.up = False
        for stream in self._streams.values():
            stream.lose_consumers()
        for wire in self.wires:
            wire.drop()
        for message in self.commands.forget(forget):
            _, _, tenant, kind, token, _ = message.subject.split(".")
            place = (f"{tenant}/{kind}/{token}", id_of(message.block))
            if self.numbers.get(place) == self._number_of[message.seq]:
                del self.numbers[place]
            self.lost.add(place[1])
        for message in self.facts.forget(forget):
            self._known_facts.pop(id_of(message.block, _MSG_ID), None)

    def start(self) -> None:
        """The server is there again."""
        self.up = True


def _partition_filter(subject: str) -> str:
    return subject[: subject.index(".", 2)] + ".>"


def id_of(block: bytes, name: bytes = _ID) -> str:
    """The value of a header."""
    at = block.find(name)
    return block[at + len(name) : block.index(b"\r\n", at)].decode() if at >= 0 else ""
