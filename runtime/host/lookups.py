"""What a batch needs to know before its turns: which rows are asked for together with the fence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from runtime.flow.state import RunState
from runtime.host import controls
from runtime.host.command import Command, from_pending
from runtime.host.items import Anchor, Expire, Finished, Item, Next, Order, Rerun, Sent, Step, Touch
from runtime.host.lane import Activation, Activations, Lane
from runtime.host.ports import Cold, Fence, Wanted
from runtime.kind import Kind
from runtime.mail import ANSWERED
from schemas.control import METHODS, START
from schemas.headers import START_AT


class Lookups:
    """The look-ups of a pod's batches."""

    def __init__(self, kinds: Mapping[str, Kind], activations: Activations) -> None:
        self._kinds = kinds
        self._activations = activations

    def of(self, batch: Sequence[Item]) -> tuple[Wanted, list[Lane], dict[str, Activation], list[Item]]:
        """What to look up for a batch, its lanes in ascending order, its actors in memory, and what may run meanwhile.

        The order keeps two pods from locking crosswise. The actors are noted now, since one may be passivated while the
        log is asked, and an actor that was neither in memory nor asked for would be folded from nothing.

        Commands of actors in memory, of which nothing but their id is looked up, run while the log is asked: it nearly
        always says that the id is new. If it does not, or a lane is lost, all turns are run again.
        """
        checkpoints: dict[Lane, tuple[int, int]] = {}
        wanted = Wanted([])
        cold: dict[str, Cold] = {}
        nexts: dict[tuple[int, str], None] = {}
        hot: dict[str, Activation] = {}
        late: set[str] = set()
        for item in batch:
            lane = item.lane
            if lane not in checkpoints:
                checkpoints[lane] = (lane.checkpoint, lane.checkpoint_at)
            if isinstance(item, Anchor):
                if item.taken == lane.feed.taken and lane.queued == 0:
                    checkpoints[lane] = (item.seq, item.at)
                continue
            if isinstance(item, Sent) or (isinstance(item, Step) and item.entry is None and not item.copied):
                continue
            actor = _actor_of(item)
            if type(item) is Command:
                if item.stream_seq and not lane.loose:
                    checkpoints[lane] = (item.stream_seq, item.stream_at)
                wanted.commands.append((actor, item.id))
                if lane.refusals:
                    wanted.refused.append((actor, item.id))
                if actor in lane.held or self._runs_beside(item) or START_AT in item.headers:
                    wanted.held.append((actor, item.id))
                    late.add(actor)
                if item.timer is not None:
                    wanted.timers.append(item.timer)
                    late.add(actor)
                if item.method in METHODS:
                    self._find_run(wanted, item)
                    late.add(actor)
            else:
                late.add(actor)
                if isinstance(item, Next) or (isinstance(item, Order) and item.what == "skip"):
                    nexts[lane.lane, actor] = None
                else:
                    self._find_more(wanted, item)
            if actor in hot or actor in cold:
                continue
            activation = self._activations.get(actor)
            if activation is not None:
                hot[actor] = activation
            elif (kind := self._kind_of(item)) is not None:
                cold[actor] = Cold(actor, lane.partition, kind.fold_version)
        lanes = sorted(checkpoints, key=lambda lane: lane.lane)
        wanted.fences = [
            Fence(
                lane.lane,
                lane.epoch,
                *(checkpoints[lane] if lane.shares is None else lane.shares.after(batch)),
                lane.position,
            )
            for lane in lanes
        ]
        wanted.cold, wanted.new = list(cold.values()), self._new(batch, cold)
        wanted.next_pending = list(nexts)
        early: list[Item] = [
            item
            for item in batch
            # The repeat of what killed a process is answered from the log: it must not run meanwhile.
            if type(item) is Command and item.actor in hot and item.actor not in late and not item.lane.careful
        ]
        return wanted, lanes, hot, early

    def _new(self, batch: Sequence[Item], cold: Mapping[str, Cold]) -> list[str]:
        """Those of the actors that are not in memory of which the first thing heard is the call for which they are."""
        firsts: dict[str, Item] = {}
        for item in batch if cold else ():
            if not isinstance(item, (Anchor, Sent)) and (actor := _actor_of(item)) in cold:
                firsts.setdefault(actor, item)
        return [
            actor
            for actor, item in firsts.items()
            if type(item) is Command and item.method not in METHODS and self._kinds[item.address.kind].called_once
        ]

    def _runs_beside(self, command: Command) -> bool:
        """Whether a command may be pending although it does not hold its key."""
        kind = self._kinds.get(command.address.kind)
        method = kind.methods.get(command.method) if kind is not None else None
        return method is not None and method.flavor != "command"

    def _find_run(self, wanted: Wanted, command: Command) -> None:
        """Asks for the execution that a control command is for, and whether the command is pending itself."""
        run = self._latest(command.actor) if command.method == START else controls.run_of(command)
        if run is not None:
            wanted.runs.append((command.actor, run))
        wanted.held.append((command.actor, command.id))

    def _find_more(self, wanted: Wanted, item: Item) -> None:
        """Asks for what an occasion of the engine's own needs besides its actor."""
        if isinstance(item, Order) and item.dead_letter:
            wanted.dead_letters.append(item.dead_letter)
        elif isinstance(item, Order) and item.what == "delete":
            wanted.unfinished.append(item.actor)
        elif isinstance(item, Step) and item.entry is not None and item.entry.step.startswith(ANSWERED):
            wanted.runs.append((item.command.actor, item.entry.step.removeprefix(ANSWERED)))
        elif isinstance(item, Expire):
            wanted.runs.append((item.actor, item.command_id))
        elif isinstance(item, Rerun):
            wanted.runs.append((item.row.actor, item.row.command_id))
            if item.row.method in METHODS:
                self._find_run(wanted, from_pending(item.lane, item.row))

    def _latest(self, actor: str) -> str | None:
        """The run that a workflow's actor is known to have, if it is in memory."""
        activation = self._activations.get(actor)
        state = None if activation is None else activation.state
        return state.run or None if isinstance(state, RunState) else None

    def _kind_of(self, item: Item) -> Kind | None:
        if isinstance(item, (Command, Expire, Touch, Order)):
            return self._kinds.get(item.address.kind)
        if isinstance(item, Next):
            return self._kinds.get(item.kind)
        if isinstance(item, Rerun):
            return self._kinds.get(item.row.kind)
        return self._kinds.get(item.command.address.kind) if isinstance(item, (Finished, Step)) else None


def reads_nothing(batch: Sequence[Item], wanted: Wanted, lanes: Sequence[Lane]) -> bool:
    """Whether a batch needs nothing of the log but that its lanes are ours, and its ids and unknown actors new."""
    if len(wanted.cold) > len(wanted.new) or wanted.runs or wanted.next_pending or wanted.timers or wanted.dead_letters:
        return False
    if wanted.commands and any(lane.careful for lane in lanes):
        return False  # the repeat of what killed a process is answered from the log: it must not run before that
    return not any(type(item) is Order for item in batch)


def _actor_of(item: Command | Next | Rerun | Expire | Finished | Step | Touch | Order) -> str:
    if isinstance(item, (Finished, Step)):
        return item.command.actor
    return item.row.actor if isinstance(item, Rerun) else item.actor
