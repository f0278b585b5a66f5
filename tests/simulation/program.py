"""What clients do in a history: drawn from its seed before anything runs."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from itertools import accumulate
from typing import Any, Literal

from tests.simulation.errands import ITEMS
from tests.simulation.faults import LOAD_S

ACCOUNTS = ("ann", "bob", "cid", "dot", "eve")
FRAIL = ("old", "new")
DESK = ("till",)
CLERK = ("kim",)
KEYS = {"account": ACCOUNTS, "frail": FRAIL, "desk": DESK, "clerk": CLERK, "tally": ("tally",)}

COUNTED_FROM = 100
"""What an update asks a run to add the number of its words to."""

SESSION_P = 0.4
"""How many commands belong to a session, in a history that has sessions."""

PACES = ((1, 2, 4), (2, 4, 8, 12), (2, 4, 8, 12), (6, 12), (6, 12))
"""How many commands a client sends at once: slow, mixed or in bursts, by the history."""
ALWAYS = {("account", "add"): 24, ("account", "take"): 9}
FEATURES: tuple[tuple[float, dict[tuple[str, str], int]], ...] = (
    (0.6, {("account", "move"): 24}),
    (0.65, {("account", "plan"): 12, ("account", "forget"): 6}),
    (0.6, {("account", "falter"): 7}),
    (0.3, {("account", "mark"): 5}),
    (0.4, {("frail", "add"): 6}),
    (0.2, {("desk", "pay"): 5}),
    (0.2, {("clerk", "gather"): 5}),
    (0.2, {("errand", "run"): 5}),
)
"""What there may be in a history, with its chance, and how often it is done then beside the rest.

A history has some of it and not the rest: what it has then meets itself and a few others, and that finds more than a
little of everything does (Groce et al., Swarm testing, ISSTA 2012).
"""

How = Literal["ask", "ask again", "tell", "query", "run", "cancel", "end", "late", "begin"]
"""`run` is asked, and its execution told what it waits for; `cancel` the same, and then cancelled, `end` terminated.

`late` has a time for all of it that may be too short. `begin` is no asking: the first of its words starts the run.
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Op:
    """One thing that a client does. `id` is None when the client is to make one."""

    kind: str
    key: str
    method: str
    args: dict[str, Any]
    how: How
    id: str | None
    session: str | None = None
    within_s: float | None = None
    """The time that a run has for all of it."""


Round = tuple[float, list[Op]]
"""A pause in seconds, and what is done at once after it."""


def draw_program(
    rng: random.Random, clients: int, each: int, sessions: tuple[str, ...] = (), surely: str = ""
) -> list[list[Round]]:
    """For each client what it does, round by round: `each` commands, and some queries beside them.

    The kind `surely` is in it, whatever else is.
    """
    what = _draw_what(rng, surely)
    at_once = rng.choice(PACES)
    program = []
    for client in range(clients):
        rounds: list[Round] = []
        number = 0
        while number < each:
            ops = []
            for _ in range(min(rng.choice(at_once), each - number)):
                op = _op(rng, what, f"{client}-{number}")
                if sessions and rng.random() < SESSION_P:
                    op = dataclasses.replace(op, session=rng.choice(sessions))
                ops.append(op)
                number += 1
            if rng.random() < 0.3:
                ops.append(Op("account", rng.choice(ACCOUNTS), "look", {}, "query", None))
            rounds.append((LOAD_S * 2.4 * rng.random() ** 2 * len(ops) / each, ops))
        program.append(rounds)
    return program


_What = tuple[list[tuple[str, str]], list[int]]
"""(kind, method), and how often each, summed up."""


def _draw_what(rng: random.Random, surely: str) -> _What:
    weights = dict(ALWAYS)
    for chance, more in FEATURES:
        if rng.random() < chance or any(kind == surely for kind, _ in more):
            weights.update(more)
    return list(weights), list(accumulate(weights.values()))


def _op(rng: random.Random, what: _What, id: str) -> Op:
    chance = rng.random()
    how: How = "tell" if chance < 0.2 else "ask again" if chance < 0.28 else "ask"
    given = id if how != "ask" or rng.random() < 0.3 else None
    kind, method = rng.choices(what[0], cum_weights=what[1])[0]
    args = _ARGUMENTS[kind, method](rng, id, rng.randint(1, 3))
    if kind == "clerk":
        how, given = rng.choice(("run", "run", "cancel")), id
    elif kind == "errand":
        how = rng.choice(("run", "run", "begin", "cancel", "cancel", "end", "late", "begin"))
        return Op(kind, f"e{id}", method, args, how, id, within_s=rng.random() if how == "late" else None)
    return Op(kind, rng.choice(KEYS[kind]), method, args, how, given)


_ARGUMENTS: dict[tuple[str, str], Callable[[random.Random, str, int], dict[str, Any]]] = {
    ("account", "add"): lambda rng, id, amount: {"amount": amount},
    ("account", "move"): lambda rng, id, amount: {"to": rng.choice(ACCOUNTS), "amount": amount},
    ("account", "take"): lambda rng, id, amount: {"amount": amount},
    ("account", "plan"): lambda rng, id, amount: {
        "name": rng.choice("xy"), "token": id, "amount": amount, "after_s": rng.random() * 1.5
    },
    ("account", "forget"): lambda rng, id, amount: {"name": rng.choice("xy")},
    ("account", "falter"): lambda rng, id, amount: {"fails": rng.choice((1, 1, 2, 3))},
    ("account", "mark"): lambda rng, id, amount: {"word": rng.choice(("fine", "cursed"))},
    ("frail", "add"): lambda rng, id, amount: {"amount": rng.choice((1, 2, 3, 0))},
    ("desk", "pay"): lambda rng, id, amount: {
        "source": rng.choice(ACCOUNTS), "target": rng.choice(ACCOUNTS), "amount": amount
    },
    ("clerk", "gather"): lambda rng, id, amount: {"words": amount - 1},
    ("errand", "run"): lambda rng, id, amount: {"script": rng.choices(ITEMS, k=amount * 2)},
}  # fmt: skip
