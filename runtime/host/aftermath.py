"""What follows a commit, and only a commit: memory moves on, replies and facts go out, executions start."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from runtime.errors import NotConnected
from runtime.host.answers import MESSAGE_MARGIN_BYTES, Answer, join
from runtime.host.command import Command
from runtime.host.items import Anchor, Finished, Item, Next, Rerun
from runtime.host.lane import Activation, Lane
from runtime.host.notices import Notices
from runtime.host.plan import Plan, Work
from schemas.subjects import commits

if TYPE_CHECKING:
    from runtime.host.pod import Pod

_log = logging.getLogger("troupe.aftermath")

LOOK_AGAIN_S = 0.1


class Aftermath:
    """Applies committed plans to a pod."""

    def __init__(self, pod: Pod) -> None:
        self._pod = pod
        subject = commits(pod.settings.group)
        self._notices = Notices(lambda body: self._post(subject, body), pod.clock.monotonic)

    def follow(self, batch: Sequence[Item], plan: Plan, fenced: Sequence[Lane]) -> None:
        """Everything that a committed batch entails."""
        pod = self._pod
        for lane, position in plan.positions.items():
            lane.position = position
        for lane, ord_ in plan.ords.items():
            lane.outbox_ord = ord_
        now = pod.clock.monotonic()
        for work in plan.works.values():
            self._settle(work, now)
        self._answer(plan.answers)
        self._count(plan, fenced)
        self._keep_promises(plan)
        self._tell_waiting(plan)
        lanes = self._settle_items(batch)
        for lane, rows in plan.outbox.items():
            lane.outbox.extend(rows)
            pod.outbox.kick(lane)
        self._set_off(plan)
        for (lane, actor), delay in plan.wake.items():
            if not plan.works[actor].loading:
                pod.alarms.set(delay, Next(lane, actor, plan.works[actor].kind.name))
        for lane, row, delay in plan.reruns:
            pod.alarms.set(delay, Rerun(lane, row))
        for expire, at in plan.expiring:
            pod.alarms.set(at - pod.clock.now(), expire)
        for step in plan.steps_again:
            pod.alarms.set(LOOK_AGAIN_S, step)
        if plan.next_due is not None:
            pod.timers.due(plan.next_due)
        if plan.positions:
            self._notices.tell(plan.positions)
        for lane in fenced:
            _log.warning("lane %d belongs to another pod now: its turns are dropped", lane.lane)
            pod.lose(lane)
        for lane in lanes:
            if lane.alive:
                self._pull(lane)
        if plan.answers:
            pod.connection.write_posted()

    def _set_off(self, plan: Plan) -> None:
        """Counts what is committed, starts what was accepted, and brings executions what was said to them."""
        for counts in plan.counted:
            counts.commit()
        for lane, place in plan.stopped:
            self._pod.executions.terminate(lane, place)
        for start in plan.starts:
            self._pod.executions.start(start)
        for lane, actor, said in plan.said:
            if lane.alive:
                self._pod.executions.deliver(actor, said)

    def _tell_waiting(self, plan: Plan) -> None:
        """Commands were answered or refused: who waits for that looks again."""
        outcomes, changes = self._pod.reads.outcomes, plan.changes
        if outcomes.awaited:
            outcomes.committed([(row.actor, row.command_id) for row in changes.inbox])
            outcomes.committed([(row.actor, row.command_id) for row in changes.refused])
        if plan.refusing:
            for lane in plan.refusing:
                lane.refusals = True

    def _settle(self, work: Work, now: float) -> None:
        """Moves an actor in memory to what was committed."""
        pod, lane = self._pod, work.lane
        if work.held:
            lane.held[work.actor] = work.held
        else:
            lane.held.pop(work.actor, None)
            lane.resting.discard(work.actor)
        if work.paused:
            lane.paused.add(work.actor)
        else:
            lane.paused.discard(work.actor)
        if work.loading:
            pod.loader.load(work)
            return
        if not lane.alive:
            return
        active = pod.activations.get(work.actor)
        if work.unreadable is not None:
            if active is not None:
                active.seq = work.seq
            return
        if active is None:
            active = Activation(lane, work.address, work.seq, work.state, work.saved_seq, now)
        else:
            active.state, active.seq, active.used_at, active.unreadable = work.state, work.seq, now, None
        pod.activations.put(work.actor, active)
        every = work.kind.behaviour.snapshot_every
        if every and work.seq - active.saved_seq >= every:
            pod.snapshotter.due(work.actor, active)

    def _settle_items(self, batch: Sequence[Item]) -> dict[Lane, None]:
        pod = self._pod
        lanes: dict[Lane, None] = {}
        for item in batch:
            if type(item) is Command:
                if item.stream_seq:
                    if item.lane.alive:
                        item.lane.committed(item.size, item.fetched)
                        if item.lane.shares is not None:
                            item.lane.shares.left(item)
                    lanes[item.lane] = None
                elif item.timer is not None:
                    pod.timers.done(item)
            elif isinstance(item, Anchor):
                feed = item.lane.feed
                if feed.taken == item.taken and item.lane.checkpoint == item.seq:
                    feed.taken, feed.taken_at = item.seq, item.at
            elif isinstance(item, Finished):
                pod.executions.committed(item.command)
        return lanes

    def _pull(self, lane: Lane) -> None:
        self._pod.commands.pull(lane.feed)
        for feed in lane.feed.apart.values():
            self._pod.commands.pull(feed)

    def _answer(self, answers: Sequence[Answer]) -> None:
        """Publishes replies; those of one caller that wants them so share a message."""
        batched: dict[tuple[str, bool], list[bytes]] = {}
        most = self._pod.connection.max_payload
        limit = most - MESSAGE_MARGIN_BYTES
        for answer in answers:
            body, large = answer.body, self._pod.large
            if not large.fits(body):
                large.send(answer.subject, body, answer.id, packed=answer.packed)
            elif answer.batched:
                batched.setdefault((answer.subject, answer.packed), []).append(body)
            else:
                self._post(answer.subject, body)
        for (subject, packed), bodies in batched.items():
            part: list[bytes] = []
            size = 0
            for body in bodies:
                if part and size + len(body) > limit:
                    self._post(subject, join(part, packed))
                    part, size = [], 0
                part.append(body)
                size += len(body) + 1
            self._post(subject, join(part, packed))

    def _post(self, subject: str, body: bytes) -> None:
        try:
            self._pod.connection.post(subject, body)
        except NotConnected:
            pass  # the answer is recorded: the caller asks again with the same id

    def _keep_promises(self, plan: Plan) -> None:
        for touch in plan.touches:
            self._pod.loader.wait(touch)
        for future, value in plan.promises:
            if future.done():
                continue
            if isinstance(value, BaseException):
                future.set_exception(value)
            else:
                future.set_result(value)

    def _count(self, plan: Plan, fenced: Sequence[Lane]) -> None:
        meter = self._pod.meter
        meter.turns += plan.turns
        meter.repeated += plan.repeated
        meter.parked += plan.parked
        meter.fenced += len(fenced)
        meter.replies += len(plan.answers)
        meter.commands += len(plan.changes.inbox)
