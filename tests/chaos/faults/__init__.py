"""Faults: real signals to real processes, real files, real sockets, in a seeded order.

fault.py      one fault as it happened, and what a kind of fault is
kinds.py      all of them
injector.py   the order in which they come
pods.py       kill, stop, term, churn           gateways.py  gateway-kill, gateway-stop
servers.py    nats, postgres, minute-…          links.py     cut, hole, slow, half-open, one-way
disks.py      disk-postgres, disk-nats, stream  clocks.py    clock
history.py    power, restore                    cluster.py   cluster

What each may do to the promises is in tests/chaos/allowances.py.
"""

from tests.chaos.faults.fault import Fault, FaultKind
from tests.chaos.faults.injector import Faults
from tests.chaos.faults.kinds import KINDS, described, needs_of
from tests.chaos.faults.servers import OUTAGE_S

__all__ = ["KINDS", "OUTAGE_S", "Fault", "FaultKind", "Faults", "described", "needs_of"]
