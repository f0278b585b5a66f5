"""What must be true of a history that has come to rest, judged by the log alone and by what clients were told."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import msgspec

from runtime.kind import Kind, StoredEvent
from schemas.address import actor_id, encode_token
from tests.simulation.flows import actors_of, check_flows
from tests.simulation.kinds import KINDS
from tests.simulation.program import KEYS, Op
from tests.simulation.runs import check_runs
from tests.simulation.watching import check_watches

if TYPE_CHECKING:
    from tests.simulation.clients import Done
    from tests.simulation.history import History

ENTRIES = {"desk": 2, "errand": 0}
"""How many events a command of a kind makes, if not one."""
BOOKS = ("account", "frail")
"""The kinds that keep a balance."""
AWAY = ("stream_full", "unavailable", "timeout", "NotConnected")
PASSING = (
    "troupe.step", "troupe.answer", "troupe.signal", "troupe.update", "troupe.cancel", "troupe.resumed",
    "troupe.terminate",
)
"""Events that do not wait for a key: an answer to a run that a backup took back comes before it begins anew."""
_kinds: dict[str, Kind] = {kind.name: kind for kind in KINDS}


def verify(history: History) -> list[str]:
    """What is wrong, in words."""
    return Verdict(history).problems


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=16).hexdigest()


class Verdict:
    """The judgement of one history."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._store = history.store
        self._past = history.store.past
        self.problems: list[str] = list(history.store.anomalies)
        self._names = {actor_id("default", kind, key): (kind, key) for kind, keys in KEYS.items() for key in keys}
        for rounds in history.program:
            for op in (op for _, ops in rounds for op in ops if op.kind == "errand"):
                self._names.update(actors_of(op))
        self._ops: dict[str, Done] = {}
        self._expected: dict[tuple[str, str], int] = {}
        """(actor, id) of messages that accounts were sent → the amount."""
        self._perhaps: set[str] = set()
        """Ids of messages of orders that were given up."""
        self._balances: dict[str, list[int]] = {}
        self._counts: dict[str, list[int]] = {}
        self._own: dict[tuple[str, str], list[Any]] = {}
        """(actor, command) → its events, without the engine's own."""
        self._check_log()
        if self.problems:
            return  # what follows from a broken log says nothing more
        self._collect()
        self._collect_past()
        self._check_memory()
        for done in history.done:
            self._check_done(done)
        self._check_changes()
        self._check_order()
        self._check_looks()
        self.problems += check_runs(history)
        self.problems += check_flows(history)
        self.problems += check_watches(history)

    def _say(self, problem: str) -> None:
        self.problems.append(problem)

    # -- the log ----------------------------------------------------------------------------------------------------

    def _check_log(self) -> None:
        for lane, rows in self._store.log.items():
            epoch = 0
            for number, row in enumerate(rows, 1):
                if row.position != number:
                    self._say(f"lane {lane} has position {row.position} where {number} belongs")
                if row.epoch < epoch:
                    self._say(f"lane {lane}: epoch {row.epoch} writes behind epoch {epoch} (position {row.position})")
                epoch = max(epoch, row.epoch)
        for actor, rows in self._store.events.items():
            if [row.seq for row in rows] != list(range(1, len(rows) + 1)):
                self._say(f"the sequence of {self._names[actor]} is {[row.seq for row in rows]}")

    def _collect(self) -> None:
        """Decodes the events, and what follows from each."""
        for actor, rows in self._store.events.items():
            kind, key = self._names[actor]
            balance = count = 0
            balances, counts = [0], [0]
            timers: dict[str, tuple[str, str]] = {}
            for row in rows:
                if row.type.startswith("troupe."):
                    own = self._own.setdefault((actor, f"{row.type} {row.command_id}"), [])
                    own.append(row)
                else:
                    event = msgspec.json.decode(row.payload)
                    self._own.setdefault((actor, row.command_id), []).append((row, event))
                    if kind in BOOKS:
                        count += 1
                        balance += self._follow(actor, key, row, event, timers)
                balances.append(balance)
                counts.append(count)
            for name, (token, _) in timers.items():
                self._say(f"timer {name} of {key} ({token}) never fired")
            self._balances[actor], self._counts[actor] = balances, counts

    def _collect_past(self) -> None:
        """What was caused in a log that a backup has replaced may have its effect all the same, or not."""
        for past in self._past:
            for actor, rows in past.events.items():
                for row in rows:
                    if row.type == "Sent":
                        event = msgspec.json.decode(row.payload)
                        target = actor_id("default", "account", event["to"])
                        id = _digest(f"{actor}/{row.command_id}/0")
                        if (target, id) not in self._expected:
                            self._expected[target, id] = event["amount"]
                            self._perhaps.add(id)

    def _follow(self, actor: str, key: str, row: Any, event: Any, timers: dict[str, tuple[str, str]]) -> int:
        """By how much an event changes the balance."""
        match row.type:
            case "Changed":
                if event["timer"]:
                    name = next((one for one, (token, _) in timers.items() if token == event["timer"]), None)
                    if name is None or timers[name][1] != row.command_id:
                        self._say(f"timer {event['timer']} of {key} fired when it was not set")
                    else:
                        del timers[name]
                return int(event["amount"])
            case "Sent":
                target = actor_id("default", "account", event["to"])
                self._expected[target, _digest(f"{actor}/{row.command_id}/0")] = event["amount"]
                return -int(event["amount"])
            case "Planned":
                timers[event["name"]] = (event["token"], _digest(f"{actor}/{event['name']}/{row.command_id}"))
            case "Forgotten":
                timers.pop(event["name"], None)
        return 0

    def _check_memory(self) -> None:
        """Every actor in memory is the fold of its log."""
        for here in self._history.pods:
            for actor, active in here.pod.activations:
                owner = self._store.lanes[active.lane.lane]
                if here.node.frozen or (owner.owner, owner.epoch) != (here.pod.id, active.lane.epoch):
                    continue  # it has not noticed yet that it has lost the lane
                rows = self._store.events.get(actor, [])
                kind = _kinds[self._names[actor][0]]
                state = kind.fold(kind.initial(), [StoredEvent(r.seq, r.type, r.version, r.payload) for r in rows])
                if (active.seq, active.state) != (len(rows), state):
                    self._say(
                        f"{here.node.name} holds {self._names[actor]} as {active.seq}: {active.state}; its log says "
                        f"{len(rows)}: {state}"
                    )

    # -- what clients were told -------------------------------------------------------------------------------------

    def _check_done(self, done: Done) -> None:
        op, actor = done.op, actor_id("default", done.op.kind, done.op.key)
        events = self._own.get((actor, done.id), [])
        answer = self._store.inbox.get((actor, done.id))
        self._ops[done.id] = done
        if answer is None:
            if not {done.id, op.id} & self._history.broker.lost:
                self._say(f"{_named(done)} was acknowledged and is nowhere")
            return
        self._expect(op, actor, done.id, answer.failed)
        limit = ENTRIES.get(op.kind, 1)
        if len(events) != (0 if answer.failed else limit):
            self._say(f"{_named(done)} has {len(events)} events, failed: {answer.failed}")
        if answer.failed:
            self._check_failed(done, actor, msgspec.json.decode(answer.result))
        elif events and op.kind in BOOKS:
            row, _ = events[0]
            if answer.seq != row.seq:
                self._say(f"{_named(done)} was answered with sequence {answer.seq}, and its event is {row.seq}")
            if op.how != "tell" and int(answer.result) != self._balances[actor][row.seq]:
                self._say(f"{_named(done)} was answered with {answer.result} at {self._balances[actor][row.seq]}")
        if done.reply is not None:
            told = (done.reply.seq, done.reply.error is not None, bytes(done.reply.result).decode())
            # In a log that a backup has replaced the answer may have been another one, and was right then.
            entries = [answer, *[past.inbox[actor, done.id] for past in self._past if (actor, done.id) in past.inbox]]
            if told not in [(one.seq, one.failed, "null" if one.failed else one.result) for one in entries]:
                self._say(f"{_named(done)} was told {told}; the log says {answer}")

    def _expect(self, op: Op, actor: str, id: str, failed: bool) -> None:
        if op.kind == "account" and op.method in ("add", "take", "falter"):
            amount = op.args.get("amount", 1)
            self._expected[actor, id] = -amount if op.method == "take" else amount
        elif op.kind == "frail":
            self._expected[actor, id] = op.args["amount"]
        elif op.kind == "desk":
            times: dict[str, int] = {}
            for key, amount in ((op.args["source"], -op.args["amount"]), (op.args["target"], op.args["amount"])):
                number = times.get(key, 0)
                times[key] = number + 1
                asked = _digest(f"{actor}/{id}/account/{encode_token(key)}/add/{number}")
                self._expected[actor_id("default", "account", key), asked] = amount
                if failed:
                    self._perhaps.add(asked)
            steps = self._own.get((actor, f"troupe.step {id}"), [])
            if len(steps) != 1 and not (failed and not steps):
                self._say(f"order {id} took its step {len(steps)} times")

    def _check_failed(self, done: Done, actor: str, failure: dict[str, Any]) -> None:
        op, code = done.op, failure["code"]
        seq, told = self._store.inbox[actor, done.id].seq, failure["message"]
        if code == "rejected" and op.method in ("take", "move"):
            if self._balances.get(actor, [0])[seq] >= op.args["amount"]:
                self._say(f"{_named(done)} was rejected with enough at {seq}")
            return
        if code == "cancelled" and op.method == "gather":
            return  # see check_runs
        if op.kind == "errand":
            return  # see check_flows
        doomed = (
            (op.method == "falter" and op.args["fails"] >= 3)
            or (op.method == "mark" and op.args["word"] == "cursed")
            or (op.kind == "frail" and op.args["amount"] <= 0)
        )
        # Attempts that ended with the lane count as deaths of the process: docs/known-limits.md.
        doomed = doomed or (op.method in ("falter", "pay", "gather") and "the process died" in told)
        # Its policy has three quick attempts, and the broker may be full or away for longer.
        doomed = doomed or (op.method == "pay" and any(code in told for code in AWAY))
        parked = self._own.get((actor, f"troupe.parked {done.id}"), [])
        if not doomed or len(parked) != 1:
            self._say(f"{_named(done)} failed, parked {len(parked)} times: {failure}")

    def _check_changes(self) -> None:
        """Each change of a balance has one cause, and each cause had its effect once."""
        lost = self._history.broker.lost
        for (actor, id), events in self._own.items():
            if id.startswith("troupe."):
                continue
            for row, event in events:
                if row.type != "Changed" or event["timer"]:
                    continue
                if self._expected.get((actor, id)) != event["amount"]:
                    self._say(f"{self._names[actor]} changed by {event['amount']} for {id}, which nobody caused")
            if len(events) > ENTRIES.get(self._names[actor][0], 1):
                self._say(f"{id} changed {self._names[actor]} {len(events)} times")
        for (actor, id), amount in self._expected.items():
            if (actor, id) not in self._own and id not in lost | self._perhaps and not self._failed(actor, id):
                self._say(f"{amount} for {self._names[actor]} ({id}) never arrived")

    def _failed(self, actor: str, id: str) -> bool:
        answer = self._store.inbox.get((actor, id))
        return answer is not None and answer.failed

    def _check_order(self) -> None:
        """Commands of one actor take effect in the order in which the broker stored them."""
        numbers, lost = self._history.broker.numbers, self._history.broker.lost
        for actor, rows in self._store.events.items():
            kind, key = self._names[actor]
            last, before = 0, ""
            for row in rows:
                number = numbers.get((f"default/{kind}/{key}", row.command_id))
                if number is None or row.type in PASSING or row.command_id in lost:
                    continue  # one that a power cut took had perhaps been read before, and came again
                if number < last:
                    self._say(f"{key}: {row.command_id} (stored as {number}) took effect behind {before} ({last})")
                if number > last:
                    last, before = number, row.command_id

    def _check_looks(self) -> None:
        for look in self._history.looks:
            actor = actor_id("default", "account", look.key)
            seq = look.reply.seq
            told = msgspec.json.decode(look.reply.result)
            if look.certain and not look.least <= seq <= look.committed:
                self._say(f"a query of {look.key} saw {seq}; {look.least} was known, {look.committed} committed")
            elif all((told["balance"], told["count"]) != state for state in self._states(actor, seq)):
                self._say(f"a query of {look.key} at {seq} was told {told}")

    def _states(self, actor: str, seq: int) -> list[tuple[int, int]]:
        """(balance, count) of an account at a sequence: in the log as it is, and in those that backups replaced."""
        balances, counts = self._balances.get(actor, [0]), self._counts.get(actor, [0])
        found = [(balances[seq], counts[seq])] if seq < len(balances) else []
        for past in self._past:
            rows = past.events.get(actor, [])
            if seq <= len(rows):
                account = _kinds["account"]
                events = [StoredEvent(r.seq, r.type, r.version, r.payload) for r in rows[:seq]]
                state = account.fold(account.initial(), events)
                found.append((state.balance, state.count))
        return found


def _named(done: Done) -> str:
    return f"{done.op.method} {done.op.args} of {done.op.key} ({done.id}, {done.op.how})"
