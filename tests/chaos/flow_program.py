"""What the load does with workflows: one run after the other, each under a key of its own, and what is said to it.

A run is to come to what its kind is there for (Entry.aim). Some are begun by their signals, all at once, of which one
must begin the run and the others find it; some are started once more under another id, which joins them; to some that
are over a signal is sent, which must be refused. What hands out a token is completed with it.
"""

from __future__ import annotations

import asyncio
from typing import Any

from schemas import control
from tests.chaos.calls import address_of, entry_of
from tests.chaos.flows import FLOWS
from tests.chaos.outside import token_of
from tests.chaos.programs import LONGEST_PAUSE_S, Program
from tests.chaos.record import TOO_LATE, Entry, Outcome

MOST_ROUNDS = 4
RUN_TIMEOUT_S = (1.0, 4.0)
BEGUN, JOINED, TOLD_LATE = 0.4, 0.3, 0.5
"""Shares of the runs: begun by their signals, joined while they go on, told something when they are over."""

TOKEN_PAUSE_S = 0.05

EARLY_S = 0.5
"""A pod knows the log's clock as well as its connection lets it."""


class Flow(Program):
    """Workflows of all kinds."""

    async def run(self) -> None:
        number = 0
        while await self.think():
            number += 1
            entry, args, at_least = self._drawn(number)
            joins = None
            if (said := _signals(entry)) and self.chance.random() < BEGUN:
                going = asyncio.ensure_future(self.calls.begin(entry, said, args))
            else:
                going = asyncio.ensure_future(self.calls.send(entry, args, self.chance))
                await self._tell(entry, going)
                joins = await self._joined(entry, args)
            if (await going).outcome == "stuck":
                return
            wrong = entry.outcome == "done" and entry.value != result_of(entry)
            if entry.outcome != entry.aim or entry.waited_s < at_least or wrong:
                found = f"run {entry.id} was {entry.outcome} with {entry.value} after {entry.waited_s:.3f} s"
                found += f" {entry.error}: {entry.aim} after {at_least:.3f} s or more is right"
                self.calls.record.misordered.append((entry.actor, found))
            elif joins is not None and joins.value != entry.value:
                found = f"run {entry.id} gave {entry.value}, and {joins.value} to one that joined it: {joins.error}"
                self.calls.record.misordered.append((entry.actor, found))
            if self.chance.random() < TOLD_LATE:
                late = entry_of(entry.actor, 2, TOO_LATE, entry.amount, via="client", session="")
                await self.calls.send(late, {"run": entry.id, "name": "go", "value": 1}, self.chance)

    def _drawn(self, number: int) -> tuple[Entry, dict[str, Any], float]:
        """A run, its arguments, and how many seconds it takes at least."""
        chance, kind = self.chance, self.chance.choice(FLOWS)
        rounds = kind == "chain"
        amount = chance.randint(1, MOST_ROUNDS) if rounds else chance.randint(1, 99)
        target = chance.choice(self.others) if kind == "trip" else ""
        actor = f"{self.tenant}/{kind}/{self.key}-{number}"
        entry = entry_of(actor, 0, "run", amount, via="client", session="", target=target)
        args: dict[str, Any] = {"amount": amount}
        if kind == "trip":
            args |= {"to": address_of(target).key, "pause_s": round(chance.uniform(0.0, LONGEST_PAUSE_S), 3)}
        elif kind == "endless" and chance.random() < 0.5:
            entry.run_timeout_s = round(chance.uniform(*RUN_TIMEOUT_S), 3)
        entry.aim = _aim(entry)
        return entry, args, args.get("pause_s", 0.0) or max((entry.run_timeout_s or 0.0) - EARLY_S, 0.0)

    async def _tell(self, entry: Entry, going: asyncio.Future[Any]) -> None:
        if "/handed/" in entry.actor:
            await self._complete(entry, going)
        elif entry.aim == "done":
            said = [control.Signal(entry.id, name, entry.amount) for name in _signals(entry)]
            await asyncio.gather(*[self.calls.say(entry.actor, control.SIGNAL, one, going) for one in said])
        elif entry.aim != "timed_out":
            await asyncio.sleep(self.chance.uniform(0.0, LONGEST_PAUSE_S))
            cancel = entry.aim == "cancelled"
            body = control.Cancel(entry.id, "no more") if cancel else control.Terminate(entry.id, "at once")
            await self.calls.say(entry.actor, control.CANCEL if cancel else control.TERMINATE, body, going)

    async def _complete(self, entry: Entry, going: asyncio.Future[Any]) -> None:
        """Completes the step, at times twice at once; and then with something else, which must be refused."""
        while (token := token_of(self.calls.directory, f"{self.tenant}/{entry.id}")) is None:
            if going.done():
                return
            await asyncio.sleep(TOKEN_PAUSE_S)
        times = 2 if self.chance.random() < JOINED else 1
        complete = self.calls.complete
        done = await asyncio.gather(*[complete(self.tenant, token, entry.amount, going) for _ in range(times)])
        if all(done) and await complete(self.tenant, token, entry.amount + 1, going):
            found = f"the token of run {entry.id} was completed with {entry.amount}, and then with something else"
            self.calls.record.misordered.append((entry.actor, found))

    async def _joined(self, entry: Entry, args: dict[str, Any]) -> Entry | None:
        """Another start of the same run, which was accepted, as it was told something."""
        if entry.aim != "done" or self.chance.random() >= JOINED:
            return None
        return await self.calls.send(
            entry_of(entry.actor, 1, "join", entry.amount, via="client", session=""), args, self.chance
        )


def result_of(entry: Entry) -> int:
    """What a run gives that is done."""
    return entry.amount * (entry.amount if "/chain/" in entry.actor else 2)


def _signals(entry: Entry) -> list[str]:
    """What a run waits to be told, but for the end of it."""
    if "/chain/" in entry.actor:
        return [f"more-{n}" for n in range(entry.amount)]
    return ["go"] if "/trip/" in entry.actor else []


def _aim(entry: Entry) -> Outcome:
    kind = entry.actor.split("/")[1]
    if kind == "endless":
        return "terminated" if entry.run_timeout_s is None else "timed_out"
    return "cancelled" if kind == "recalled" else "done"
