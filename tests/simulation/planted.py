"""Bugs put into the engine on purpose. A simulation that does not catch each of them would not catch others like it.

Each is what a hasty change might do, in the engine or in the statements that its adapters run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import msgspec

from runtime.host import command, turns
from runtime.host.aftermath import Aftermath
from runtime.host.broker import Publisher
from runtime.host.outbox import Outbox
from runtime.host.plan import Plan
from runtime.host.pod import Pod
from runtime.host.ports import Found, LogRefused, LogUnavailable
from runtime.jetstream.publisher import JetStreamPublisher
from runtime.jetstream.reader import CommandReader
from runtime.mail import Mail
from schemas import headers as names
from tests.simulation import beside, dividing, history, straying
from tests.simulation.beside import Patch
from tests.simulation.log import (
    SimulatedCommitLog,
    SimulatedKeeping,
    SimulatedOwnership,
    SimulatedReader,
)
from tests.simulation.store import Store


@dataclasses.dataclass(frozen=True, slots=True)
class Planted:
    """One bug: what it is, what it puts in place of what, and the seed from which on it is looked for.

    `only` names faults, when it takes several at once that seldom meet; `surely` the kind that shows it.
    `divided`: in histories whose lanes are divided.
    """

    name: str
    patches: Callable[[], list[Patch]]
    near: int = 0
    only: tuple[str, ...] = ()
    surely: str = ""
    divided: bool = False

    @contextmanager
    def sown(self) -> Iterator[None]:
        """The engine with the bug. Commits take two round trips, as the bugs of commits are planted there."""
        with ExitStack() as stack:
            stack.enter_context(mock.patch.object(SimulatedCommitLog, "commit_at_once", _never))
            for target, attribute, value in self.patches():
                stack.enter_context(mock.patch.object(target, attribute, value))
            yield


async def _never(*_: Any) -> bool:
    return False


def _no_epoch() -> list[Patch]:
    return [(Store, "fenced", lambda self, fence, pod: True)]


def _after_plan(what: Callable[[Pod, Plan], None]) -> list[Patch]:
    """Does something as soon as a plan is made, before it is committed."""
    wire = Pod._wire

    def wired(self: Pod, secret: bytes) -> None:
        wire(self, secret)
        planner = self.committer._planner
        plan_of = planner.plan

        async def planned(*args: Any) -> Plan:
            made = await plan_of(*args)
            what(self, made)
            return made

        planner.plan = planned  # type: ignore[assignment, method-assign]  # the bug

    return [(Pod, "_wire", wired)]


def _reply_first() -> list[Patch]:
    return _after_plan(lambda pod, plan: pod.aftermath._answer(plan.answers))


def _memory_first() -> list[Patch]:
    def settle(pod: Pod, plan: Plan) -> None:
        for work in plan.works.values():
            pod.aftermath._settle(work, pod.clock.monotonic())

    return _after_plan(settle)


def _checkpoint_first() -> list[Patch]:
    begin = Store.begin

    def begun(self: Store, wanted: Any, pod: str, timeout_s: float, answer: Any) -> None:
        def moved(transaction: Any, found: Any) -> None:
            for fence in transaction.fences if transaction is not None else ():
                row = self.lanes[fence.lane]
                row.checkpoint, row.checkpoint_at = fence.checkpoint, fence.checkpoint_at
            answer(transaction, found)

        begin(self, wanted, pod, timeout_s, moved)

    return [(Store, "begin", begun)]


def _no_inbox() -> list[Patch]:
    begin, commit = SimulatedCommitLog.begin, SimulatedCommitLog.commit

    async def begun(self: SimulatedCommitLog, wanted: Any) -> Found:
        return (await begin(self, wanted))._replace(inbox={})

    async def committed(self: SimulatedCommitLog, changes: Any) -> None:
        known = self._line.store.inbox
        changes.inbox = [row for row in changes.inbox if (row.actor, row.command_id) not in known]
        await commit(self, changes)

    return [(SimulatedCommitLog, "begin", begun), (SimulatedCommitLog, "commit", committed)]


def _without(**dropped: Any) -> list[Patch]:
    """Some rows of a plan are not written."""
    commit = SimulatedCommitLog.commit

    async def committed(self: SimulatedCommitLog, changes: Any) -> None:
        for name, value in dropped.items():
            setattr(changes, name, value)
        await commit(self, changes)

    return [(SimulatedCommitLog, "commit", committed)]


def _ids_when_sent() -> list[Patch]:
    batch = Outbox._batch

    def sent(self: Outbox, lane: Any) -> Any:
        rows = batch(self, lane)
        made = []
        for number, row in enumerate(rows):
            headers = msgspec.json.decode(row.headers)
            if names.ID in headers:
                headers[names.ID] += f"-{lane.epoch}-{number}"
            made.append(row._replace(headers=msgspec.json.encode(headers).decode()))
        return made

    return [(Outbox, "_batch", sent)]


def _sent_unheard() -> list[Patch]:
    publish = JetStreamPublisher.publish_all

    async def published(self: Publisher, rows: Any) -> int:
        await publish(self, rows)  # type: ignore[arg-type]  # it is one
        return len(rows)

    return [(JetStreamPublisher, "publish_all", published)]


def _any_order() -> list[Patch]:
    oldest = Store.oldest_pending
    return [(Store, "oldest_pending", lambda self, actor: oldest(self, actor)[::-1])]


def _trimmed_too_far() -> list[Patch]:
    needed = SimulatedKeeping.needed

    async def most(self: SimulatedKeeping) -> Any:
        found = await needed(self)
        upto = max(row.checkpoint for row in self._line.store.lanes.values()) + 1
        return found._replace(upto=upto, at=None)  # else it is taken for a broker that went back, and waits

    return [(SimulatedKeeping, "needed", most)]


def _rollback_believed() -> list[Patch]:
    commit = SimulatedCommitLog.commit

    async def committed(self: SimulatedCommitLog, changes: Any) -> None:
        try:
            await commit(self, changes)
        except LogUnavailable as error:
            raise LogRefused(str(error)) from error

    return [(SimulatedCommitLog, "commit", committed)]


def _nothing_forgotten() -> list[Patch]:
    return [(Pod, "_forget_all", lambda self, why: None)]


def _gaps_ignored() -> list[Patch]:
    receive = CommandReader._on_message

    def received(self: CommandReader, subject: str, reply: str, body: bytes, headers: bytes) -> None:
        if reply.startswith("$JS.ACK."):
            tokens = reply.split(".")
            feed = self._by_consumer.get(tokens[-6])
            if feed is not None:
                feed.delivered = int(tokens[-3]) - 1
        receive(self, subject, reply, body, headers)

    return [(CommandReader, "_on_message", received)]


def _no_anchor() -> list[Patch]:
    async def unchecked(self: CommandReader, feed: Any) -> None:
        return None

    return [(CommandReader, "_check_anchor", unchecked)]


def _no_wake() -> list[Patch]:
    follow = Aftermath.follow

    def followed(self: Aftermath, batch: Any, made: Plan, fenced: Any) -> None:
        made.wake.clear()
        follow(self, batch, made, fenced)

    return [(Aftermath, "follow", followed)]


def _waiting_timer_fires() -> list[Patch]:
    """As the engine once had it: the row of a timer went when its command was put behind a held key."""
    from_pending = command.from_pending

    def no_timers(lane: Any, row: Any) -> Any:
        made = from_pending(lane, row)
        made.timer = None
        return made

    return [(Plan, "unfire", lambda self, command: None), (turns, "from_pending", no_timers)]


def _untold(*left_out: str) -> list[Patch]:
    """A run that starts anew is not told what its journal holds."""
    journal = SimulatedReader.journal

    async def told(self: SimulatedReader, actor: str, partition: int, command_id: str, after: int = 0) -> Any:
        return [row for row in await journal(self, actor, partition, command_id, after) if row[1] not in left_out]

    return [(SimulatedReader, "journal", told)]


def _told_again() -> list[Patch]:
    """A run that starts anew is offered what it had taken."""
    made = Mail.__init__

    def init(self: Mail, *args: Any, **named: Any) -> None:
        made(self, *args, **named)
        self._taken = set()

    return [(Mail, "__init__", init)]


def _copy_believed() -> list[Patch]:
    """A log that is an older copy is taken for the one that was there: its lanes have the very same epochs."""
    begin = SimulatedCommitLog.begin

    async def same(self: SimulatedOwnership) -> str:
        return "1"

    async def begun(self: SimulatedCommitLog, wanted: Any) -> Found:
        self._incarnation = self._line.store.incarnation
        return await begin(self, wanted)

    return [(SimulatedOwnership, "incarnation", same), (SimulatedCommitLog, "begin", begun)]


PLANTED = (
    Planted("the epoch check is skipped", _no_epoch),
    Planted("replies go out before the commit", _reply_first),
    Planted("memory moves on before the commit", _memory_first),
    Planted("the checkpoint moves before the commit", _checkpoint_first, near=15),
    Planted("the inbox is forgotten", _no_inbox),
    Planted("a fired timer's row is not deleted", lambda: _without(timers_done=[]), near=9),
    Planted("a command that is done stays pending", lambda: _without(pending_done=[]), near=5),
    Planted("the outbox is not kept", lambda: _without(outbox=[]), near=43),
    Planted("messages get their ids when they are sent", _ids_when_sent),
    Planted(
        "what was sent counts as acknowledged", _sent_unheard, near=45, only=("loses messages", "full", "drop pod")
    ),
    Planted("pending commands go on in any order", _any_order),
    Planted("the stream is trimmed above a checkpoint", _trimmed_too_far, near=30015),
    Planted(
        "the stream is trimmed by sequences that were given out again", beside.trimmed_by_sequence, near=117,
        only=("loses messages", "power cut"),
    ),
    Planted("an unknown outcome is taken for a rollback", _rollback_believed, near=35),
    Planted("memory is believed after the log was lost", _nothing_forgotten, near=5),
    Planted("gaps in the delivery are ignored", _gaps_ignored, near=29),
    Planted("a broker that went back in time is believed", _no_anchor, near=20),
    Planted("a held key is not woken", _no_wake),
    Planted("a timer that waits for its turn cannot be taken back", _waiting_timer_fires, near=30050),
    Planted(
        "a run that starts anew has not heard its signals", lambda: _untold("troupe.signal", "troupe.update"), near=15
    ),
    Planted("a run that starts anew has not heard that it was cancelled", lambda: _untold("troupe.cancel"), near=20),
    Planted("a run that starts anew is told again what it took", _told_again, near=185, surely="clerk"),
    Planted("an older copy of the log is taken for the same one", _copy_believed, near=5),
    Planted("a divided lane's checkpoint is where the farthest is", dividing.checkpoint_of_the_farthest, divided=True),
    Planted("a tenant's feed is closed before it has come to the others'", dividing.joined_too_early, divided=True),
    Planted("what a feed has brought does not hold the checkpoint", dividing.forgotten_in_hand, near=530, divided=True),
    Planted("an anchor takes a checkpoint back", beside.anchor_back, near=30040),
    Planted("a session's reader ignores gaps", beside.facts_with_gaps, near=83),
    Planted("who comes to a session late is not shown what there was", beside.nothing_caught_up, near=15),
    Planted("facts are sent without their ids", beside.facts_without_ids, near=26),
    Planted("a group that stands by works", beside.standby_works),
    Planted("a promotion leaves behind what was to be sent", beside.outbox_left, near=30, only=("promote", "full")),
    Planted(
        "the stream is trimmed up to the checkpoints at once", lambda: [(history, "TRIM_LAG_S", 0.0)],
        only=("restore", "store restarts", "kill"),
    ),
    Planted("a workflow goes on with what is not committed", straying.handed_over_first, surely="errand"),
    Planted("a workflow is replayed out of order", straying.out_of_order, near=13, surely="errand"),
    Planted("a workflow that starts anew forgets its last entry", straying.last_forgotten, surely="errand"),
    Planted("a cancelled workflow leaves its children alone", straying.children_left, near=9, surely="errand"),
    Planted("a workflow that starts anew asks again under another id", straying.asked_anew, near=30, surely="errand"),
    Planted("a workflow that goes on as new loses what it was told", straying.untaken_lost, near=100, surely="errand"),
    Planted("a workflow that is terminated goes on", straying.goes_on_terminated, surely="errand"),
    Planted("a workflow's step is recorded behind its end", straying.kept_after_its_end, near=27, surely="errand"),
    Planted("a signal that starts a run is lost", straying.start_unsaid, surely="errand"),
    Planted("a step's token is another one on each attempt", straying.token_anew, near=10, surely="errand"),
    Planted(
        "an answer that comes before its run goes on as new is lost", straying.answers_lost, near=38, surely="errand",
    ),
    Planted(
        "a workflow is suspended before its question has left", straying.suspended_unasked, near=168,
        only=("broker restarts", "drop pod", "hole"), surely="errand",
    ),
    Planted(
        "a workflow that only asked is not told of its being cancelled", straying.not_told, near=5,
        only=("all die", "kill", "store breaks"), surely="errand",
    ),
)
