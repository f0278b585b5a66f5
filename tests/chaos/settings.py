"""What one run of chaos is."""

from __future__ import annotations

import dataclasses

from runtime.host.settings import PodSettings

FAULTS = (
    "kill", "stop", "term", "churn", "gateway-kill", "gateway-stop", "nats", "postgres", "cut", "hole", "slow",
    "half-open", "one-way", "clock", "disk-postgres", "disk-nats", "stream",
)  # fmt: skip
"""What a run has unless it is told otherwise. None of them allows anything but a refusal that is told."""

FINALES = ("restore", "power", "cluster")
"""What such a run ends with, in turn by its seed: a short run of its own, since what these may do, or need, would make
the verdict on the others weaker."""

FINALE_S = 15.0

PROGRAMS = "srhplewfda"
"""The letters of programs.py."""

TENANTS = ("default", "acme", "globex")
"""Each has actors of the same names."""


@dataclasses.dataclass(frozen=True)
class ChaosSettings:
    """One run.

    Attributes:
        seconds: how long the load runs.
        seed: of the load and of the faults.
        faults: kinds of faults, see faults/.
        fault_every_s: mean seconds between two faults.
        keys: counters a tenant.
        rate: commands a second that the load aims at; a key that waits for an answer does not catch up.
        gateways: processes; none, and nothing goes through HTTP.
        sessions: how many counters a tenant have a session that is read, over NATS and over HTTP.
        promotions: how many pinned versions are started and promoted during the load.
        programs: the letters of programs.py that the load has, all of them when empty; `e` and `l` need `l`.
        looks: in so many of a program's rounds the state is looked at.
        partitions: of each stream.
        split: two Postgres servers, and a stream of its own for one of the kinds (docs/adr/0014).
        trim_lag_s: how long pods leave processed commands in the stream.
        settle_s: seconds after the faults within which everything must have been answered and sent.
        patience_s: how long an answer may take at the end, when nothing is left to do.
    """

    seconds: float = 60.0
    seed: int = 1
    faults: tuple[str, ...] = FAULTS
    fault_every_s: float = 2.4
    pods: int = 3
    gateways: int = 2
    keys: int = 700
    rate: float = 2000.0
    sessions: int = 6
    promotions: int = 2
    programs: str = ""
    looks: float = 0.05
    partitions: int = PodSettings("", "").partitions
    split: bool = False
    settle_s: float = 60.0
    patience_s: float = 20.0
    trim_lag_s: float = 20.0
    warm_up_s: float = 2.0
    calm_s: float = 2.0

    @property
    def all_programs(self) -> str:
        """The letters of programs.py that the load has, without those of which the faults may take what they promise.

        An order to delete is in no stream: no backup has it again. A session waits for its run, of whose end it may not
        be told: the broker has lost that.
        """
        without = ("da" if "restore" in self.faults else "") + ("a" if "power" in self.faults else "")
        return self.programs or "".join(letter for letter in PROGRAMS if letter not in without)

    def finale(self) -> ChaosSettings:
        """The run that this one ends with, unless its faults were chosen."""
        name = FINALES[self.seed % len(FINALES)]
        return dataclasses.replace(self, seconds=FINALE_S, faults=(name,), promotions=0, split=False)

    @property
    def least_faults(self) -> int:
        """How many faults a run without outages must have had to show anything: 20 in a minute."""
        return int(self.seconds / 3)

    @property
    def least_acknowledged(self) -> int:
        """How many commands such a run must have got done: 50,000 in a minute at the usual rate, else in proportion."""
        return int(50_000 / 60 * self.seconds * self.rate / ChaosSettings.rate)
