"""What clients do in a history: drawn from its seed before anything runs."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from itertools import accumulate
from typing import Any, Literal

ACCOUNTS = ("ann", "bob", "cid", "dot", "eve")
FRAIL = ("old", "new")
DESK = ("till",)
CLERK = ("kim",)
KEYS = {"account": ACCOUNTS, "frail": FRAIL, "desk": DESK, "clerk": CLERK}

COUNTED_FROM = 100
"""What an update asks a run to add the number of its words to."""

SESSION_P = 0.4
"""How many commands belong to a session, in a history that has sessions."""

AT_ONCE = (1, 2, 4, 6, 8)
WEIGHTS = {
    ("account", "add"): 33,
    ("account", "move"): 23,
    ("account", "take"): 10,
    ("account", "plan"): 12,
    ("account", "forget"): 4,
    ("account", "falter"): 6,
    ("account", "mark"): 3,
    ("frail", "add"): 4,
    ("desk", "pay"): 3,
    ("clerk", "gather"): 2,
}
"""How often what is done, of a hundred."""

How = Literal["ask", "ask again", "tell", "query", "run", "cancel"]
"""`run` is asked, and its execution told what it waits for; `cancel` the same, and then cancelled."""


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


Round = tuple[float, list[Op]]
"""A pause in seconds, and what is done at once after it."""


def draw_program(
    rng: random.Random, clients: int, each: int, sessions: tuple[str, ...] = ()
) -> list[list[Round]]:
    """For each client what it does, round by round: `each` commands, and some queries beside them."""
    program = []
    for client in range(clients):
        rounds: list[Round] = []
        number = 0
        while number < each:
            ops = []
            for _ in range(min(rng.choice(AT_ONCE), each - number)):
                op = _op(rng, f"{client}-{number}")
                if sessions and rng.random() < SESSION_P:
                    op = dataclasses.replace(op, session=rng.choice(sessions))
                ops.append(op)
                number += 1
            if rng.random() < 0.3:
                ops.append(Op("account", rng.choice(ACCOUNTS), "look", {}, "query", None))
            rounds.append((rng.choice((0.0, 0.05, 0.4)) * rng.random(), ops))
        program.append(rounds)
    return program


def _op(rng: random.Random, id: str) -> Op:
    chance = rng.random()
    how: How = "tell" if chance < 0.2 else "ask again" if chance < 0.28 else "ask"
    given = id if how != "ask" or rng.random() < 0.3 else None
    kind, method, args = _what(rng, id)
    if kind == "clerk":
        how, given = rng.choice(("run", "run", "cancel")), id
    return Op(kind, rng.choice(KEYS[kind]), method, args, how, given)


def _what(rng: random.Random, id: str) -> tuple[str, str, dict[str, Any]]:
    """(kind, method, arguments)."""
    kind, method = rng.choices(_WHAT, cum_weights=_UPTO)[0]
    return kind, method, _ARGUMENTS[kind, method](rng, id, rng.randint(1, 3))


_WHAT = list(WEIGHTS)
_UPTO = list(accumulate(WEIGHTS.values()))
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
}  # fmt: skip
