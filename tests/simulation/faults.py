"""What happens to everybody: drawn from the seed before anything runs, at least three in every history."""

from __future__ import annotations

import dataclasses
import random
from functools import partial
from typing import TYPE_CHECKING, Any

from tests.simulation.store import GROUP

if TYPE_CHECKING:
    from tests.simulation.history import History

PINNED = "pinned"
"""The group of another version."""

LOAD_S = 1.1
"""Faults begin within so many seconds."""

TRIM_LAG_S = 1.0
"""For how long the stream keeps what was processed."""

BACKUP_AGE = 0.8
"""The most that a backup's age may be of that."""


@dataclasses.dataclass(frozen=True, slots=True)
class Fault:
    """One fault. `which` chooses whom it meets, `size` in [0, 1) how hard, `fuse` after how many callbacks more."""

    what: str
    at: float
    which: float
    size: float
    fuse: int
    lasts_s: float


WHAT = (
    "kill", "kill", "kill", "freeze", "freeze", "freeze", "freeze", "stop", "join", "drop pod", "drop client",
    "broker restarts", "power cut", "store restarts", "store breaks", "store breaks", "store stalls", "cut off",
    "loses messages", "stores twice", "full", "all die", "restore", "promote",
    "hole", "hole",
)  # fmt: skip


def draw_faults(rng: random.Random) -> list[Fault]:
    """Three to six faults, by their times."""
    faults = []
    for _ in range(rng.choice((3, 3, 4, 4, 5, 6))):
        what = rng.choice(WHAT)
        fuse = rng.randint(0, 60) if rng.random() < 0.7 else -1
        lasts_s = 0.05 + rng.random() ** 2 * 2
        faults.append(Fault(what, rng.random() * LOAD_S, rng.random(), rng.random(), fuse, lasts_s))
    faults.sort(key=lambda fault: fault.at)
    restored = next((fault for fault in faults if fault.what == "restore"), None)
    if restored is None:
        return faults
    # One backup a history; and what the broker lost cannot come again from it, which no promise covers.
    instead = {"restore": "store restarts", "power cut": "broker restarts"}
    return [
        fault if fault is restored else dataclasses.replace(fault, what=instead.get(fault.what, fault.what))
        for fault in faults
    ]


def strike(history: History, fault: Fault) -> None:
    """Lets a fault happen, and its end."""
    history.scheduler.say(f"fault: {fault.what} {fault.lasts_s:.3f} s")
    _STRIKES[fault.what](history, fault)


def _amid(history: History, fault: Fault, node: Any, end: Any) -> None:
    """Calls `end` after some more callbacks of a node: amid whatever it does then."""
    if fault.fuse < 0:
        end()
        return
    node.fuse, node.ends = fault.fuse, end
    # A node that has little to do is met all the same.
    history.scheduler.after(0.3, lambda: end() if node.fuse >= 0 else None)


def _kill(history: History, fault: Fault) -> None:
    pod = history.pick_pod(fault.which)
    if pod is None:
        return

    def end() -> None:
        pod.node.fuse = -1
        if not pod.node.dead:
            history.kill(pod)
            history.scheduler.after(fault.size * 1.5, partial(history.start_pod, pod.group))

    _amid(history, fault, pod.node, end)


def _all_die(history: History, fault: Fault) -> None:
    for pod in list(history.pods):
        history.kill(pod)
        history.scheduler.after(fault.size * 1.5 + 0.01 * fault.which, partial(history.start_pod, pod.group))


def _freeze(history: History, fault: Fault) -> None:
    pod = history.pick_pod(fault.which)
    if pod is None:
        return

    def end() -> None:
        pod.node.fuse = -1
        if not pod.node.dead and not pod.node.frozen:
            history.scheduler.say(f"{pod.node.name} stands still")
            pod.node.freeze()

            def wake() -> None:
                history.scheduler.say(f"{pod.node.name} wakes")
                pod.node.wake()

            history.scheduler.after(fault.lasts_s, wake)

    _amid(history, fault, pod.node, end)


def _stop(history: History, fault: Fault) -> None:
    pod = history.pick_pod(fault.which)
    if pod is not None and not pod.node.frozen:
        history.stop(pod)
        history.scheduler.after(fault.size, partial(history.start_pod, pod.group))


def _join(history: History, fault: Fault) -> None:
    group = history.pods[0].group if history.pods else GROUP
    history.start_pod(group)

    def leave() -> None:
        others = [pod for pod in history.pods if pod.group == group]
        if len(others) > 1 and not others[-1].node.frozen:
            history.stop(others[-1])

    history.scheduler.after(fault.lasts_s + 0.3, leave)


def _drop_pod(history: History, fault: Fault) -> None:
    pod = history.pick_pod(fault.which)
    if pod is not None and pod.wire is not None:
        pod.wire.drop()


def _drop_client(history: History, fault: Fault) -> None:
    history.clients[int(fault.which * len(history.clients))].wire.drop()


def _broker_restarts(history: History, fault: Fault) -> None:
    history.broker.stop()
    history.scheduler.after(fault.lasts_s, history.broker.start)


def _power_cut(history: History, fault: Fault) -> None:
    history.broker.stop(forget=1 + int(fault.size * 4))
    history.scheduler.after(fault.lasts_s, history.broker.start)


def _store_restarts(history: History, fault: Fault) -> None:
    history.store.down_until = max(history.store.down_until, history.scheduler.now + fault.lasts_s / 2)
    history.store.restart()


def _restore(history: History, fault: Fault) -> None:
    """A backup is taken now, and put back while everything that came since is still in the stream."""
    backup = history.store.backup()
    history.striking += 1

    def put_back() -> None:
        history.striking -= 1
        history.restore(backup)
        history.store.down_until = max(history.store.down_until, history.scheduler.now + fault.lasts_s / 2)

    history.scheduler.after(BACKUP_AGE * TRIM_LAG_S * fault.size, put_back)


def _store_breaks(history: History, fault: Fault) -> None:
    history.store.break_p = 0.05 + 0.3 * fault.size

    def mend() -> None:
        history.store.break_p = 0.0

    history.scheduler.after(fault.lasts_s, mend)


def _store_stalls(history: History, fault: Fault) -> None:
    history.store.slow = 10.0 ** (1 + 3 * fault.size)
    history.store.slow_until = history.scheduler.now + fault.lasts_s


def _cut_off(history: History, fault: Fault) -> None:
    pod = history.pick_pod(fault.which)
    if pod is not None:
        pod.line.cut_until = history.scheduler.now + fault.lasts_s


def _hole(history: History, fault: Fault) -> None:
    """Nothing passes on one connection; then all arrives that was on its way."""
    pod = history.pick_pod(fault.which)
    until = history.scheduler.now + fault.lasts_s
    if pod is not None and fault.size < 0.4:
        pod.line.held_until = until
    elif pod is not None and pod.wire is not None and fault.size < 0.8:
        pod.wire.held_until = until
    else:
        history.clients[int(fault.which * len(history.clients))].wire.held_until = until


def _loses_messages(history: History, fault: Fault) -> None:
    history.broker.drop_p = 0.02 + 0.3 * fault.size

    def mend() -> None:
        history.broker.drop_p = 0.0

    history.scheduler.after(fault.lasts_s, mend)


def _stores_twice(history: History, fault: Fault) -> None:
    history.broker.twice_p = 0.1 + 0.6 * fault.size

    def mend() -> None:
        history.broker.twice_p = 0.0

    history.scheduler.after(fault.lasts_s, mend)


def _full(history: History, fault: Fault) -> None:
    history.broker.full = True

    def mend() -> None:
        history.broker.full = False

    history.scheduler.after(fault.lasts_s / 3, mend)


def _promote(history: History, fault: Fault) -> None:
    """Pods of another version stand by, and are made the current ones; the others stay, ready to be promoted again."""
    current = history.store.kinds["account"]
    group = PINNED if current == GROUP else GROUP
    if not any(pod.group == group for pod in history.pods):
        history.start_pod(group)
    history.striking += 1
    history.scheduler.after(fault.lasts_s / 3, partial(history.promote, group))


_STRIKES = {
    "kill": _kill,
    "all die": _all_die,
    "freeze": _freeze,
    "stop": _stop,
    "join": _join,
    "drop pod": _drop_pod,
    "drop client": _drop_client,
    "broker restarts": _broker_restarts,
    "power cut": _power_cut,
    "store restarts": _store_restarts,
    "restore": _restore,
    "store breaks": _store_breaks,
    "store stalls": _store_stalls,
    "cut off": _cut_off,
    "hole": _hole,
    "loses messages": _loses_messages,
    "stores twice": _stores_twice,
    "full": _full,
    "promote": _promote,
}
