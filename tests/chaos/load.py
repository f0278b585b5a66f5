"""The load of a chaos run, as a process: `python -m tests.chaos.load '<LoadPlan as JSON>'`.

The seed draws how much of it is what, and each actor's program (programs.py). Every tenant has actors of the same
names. Sessions are read meanwhile (readers.py); a sampler asks counters at random for their state.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sys
import time
from pathlib import Path

import msgspec
import uvloop

from runtime.client import Client
from tests.chaos.agent_program import Talk
from tests.chaos.calls import Calls
from tests.chaos.flow_program import Flow
from tests.chaos.programs import Deleted, Errand, Loose, Program, Publish, Strict, Wait, sample
from tests.chaos.raw import RawCaller
from tests.chaos.readers import NatsReader, Reader, WebReader
from tests.chaos.record import LoadPlan, Reading, Record, write
from tests.chaos.settings import TENANTS
from tests.chaos.web import Web

SHARES = {"s": 0.30, "r": 0.10, "h": 0.04, "p": 0.06, "l": 0.40, "e": 0.04, "w": 0.03, "f": 0.03, "d": 0.03, "a": 0.015}
"""How many actors have which program, before the seed changes it: see `mix`."""

RUNS = "ewfa"
"""The programs that have no counters of their own."""

LIVES = "d"
"""Those whose counters begin anew: nobody can say later what they were."""

PROGRAMS: dict[str, type[Program]] = {
    "l": Loose, "p": Publish, "e": Errand, "w": Wait, "f": Flow, "d": Deleted, "a": Talk
}  # fmt: skip
SAMPLES_PER_S = 40.0


def mix(seed: int, keys: int, *, http: bool, only: str = "") -> dict[str, list[str]]:
    """program → the keys that have it, the same in every tenant. `only` are the programs that there are, if not all.

    s: one command in flight; r: the same in plain nats-py; h: the same over HTTP; p: published and not waited for;
    l: several in flight, transfers, timers; e: errands; w: errands that wait; f: workflows; d: deleted now and then;
    a: conversations with agents.
    """
    chance = random.Random(f"mix/{seed}")
    wanted = {name: share for name, share in SHARES.items() if (http or name != "h") and (not only or name in only)}
    weights = {name: share * chance.uniform(0.6, 1.4) for name, share in wanted.items()}
    names = [*weights, *chance.choices(list(weights), list(weights.values()), k=keys)][:keys]  # one of each at least
    return {name: [f"{name}{number}" for number, one in enumerate(names) if one == name] for name in weights}


_log = logging.getLogger("chaos.load")


class Load:
    """Everything that this process does."""

    def __init__(self, plan: LoadPlan, clients: dict[str, Client], raw: RawCaller, web: Web) -> None:
        self._plan = plan
        self._clients = clients
        self._web = web
        self.record = Record([], [])
        begun = time.monotonic()
        self._end = begun + plan.seconds
        self._deadline = self._end + plan.settle_s
        self._keys = mix(plan.seed, plan.keys, http=bool(plan.gateways), only=plan.programs)
        self._calls = Calls(self.record, clients, raw, web, self._deadline, Path(plan.record).parent)
        self._think_s = plan.keys * len(TENANTS) / plan.rate
        self._programs = self._made()

    async def run(self) -> None:
        """Drives every actor until the time is over and its last command is answered; then waits for the readers."""
        readers = self._readers()
        reading = [asyncio.ensure_future(reader.run()) for reader in readers]
        sampling = asyncio.ensure_future(self._sample())
        await asyncio.gather(*[program.run() for program in self._programs])
        sampling.cancel()
        for reader in readers:
            commands = {
                entry.id
                for entry in self.record.entries
                if entry.session == reader.reading.session and entry.outcome in ("done", "rejected", "failed")
            }
            while not (complete := reader.has(commands)) and time.monotonic() < self._deadline:
                await asyncio.sleep(0.05)
            reader.reading.ended = complete
        for task in reading:
            task.cancel()
        for outcome in await asyncio.gather(*reading, sampling, return_exceptions=True):
            if isinstance(outcome, Exception):  # a reader that fell over has a gap that nobody else explains
                _log.error("a reader or the sampler ended by itself", exc_info=outcome)

    def _made(self) -> list[Program]:
        plan, keys, calls = self._plan, self._keys, self._calls
        found: list[Program] = []
        for tenant in TENANTS:
            for place, letter in enumerate(keys):
                for number, key in enumerate(keys[letter]):
                    chance = random.Random(f"{plan.seed}/{tenant}/{key}")
                    kind = "errand" if letter in RUNS else "counter"
                    actor = f"{tenant}/{kind}/{key}"
                    read = {"a": number * 3}.get(letter, number * 3 + place if letter in "srh" else plan.sessions)
                    session = key if read < plan.sessions else ""
                    others = [f"{tenant}/counter/{other}" for other in keys.get("l") or [key]]
                    program = PROGRAMS.get(letter, Strict)
                    found.append(program(calls, actor, session, others, chance, self._think_s, self._end, plan.looks))
        return found

    def _readers(self) -> list[Reader]:
        sessions = sorted({f"{program.tenant}/{program.session}" for program in self._programs if program.session})
        found: list[Reader] = []
        for session in sessions:
            tenant = session.split("/")[0]
            seed = f"{self._plan.seed}/{session}"
            nats = Reading(session, "nats", [])
            found.append(NatsReader(self._clients[tenant], session, nats, f"nats/{seed}", self._deadline))
            self.record.readings.append(nats)
            if self._plan.gateways:
                sse = Reading(session, "sse", [])
                found.append(WebReader(self._web, session, sse, f"sse/{seed}", self._deadline))
                self.record.readings.append(sse)
        return found

    async def _sample(self) -> None:
        chance = random.Random(f"sample/{self._plan.seed}")
        letters = [letter for letter in self._keys if letter not in RUNS + LIVES]
        actors = [f"{tenant}/counter/{key}" for tenant in TENANTS for letter in letters for key in self._keys[letter]]
        if actors:
            await sample(self._calls, actors, chance, 1 / SAMPLES_PER_S)


async def main(plan: LoadPlan) -> None:
    connection = await Client.connect(plan.nats_url, TENANTS[0])
    clients = {tenant: await connection.for_tenant(tenant) for tenant in TENANTS[1:]} | {TENANTS[0]: connection}
    raw = await RawCaller.connect(plan.nats_url, TENANTS)
    web = Web(plan.gateways, plan.api_keys)
    load = Load(plan, clients, raw, web)
    await load.run()
    write(Path(plan.record), load.record)
    await raw.close()
    await web.close()
    for client in clients.values():
        if client is not connection:
            await client.close()
    await connection.close()


if __name__ == "__main__":
    for name in ("troupe", "httpx"):
        logging.getLogger(name).setLevel(logging.ERROR)  # the broker is killed on purpose
    uvloop.run(main(msgspec.json.decode(sys.argv[1], type=LoadPlan)))
