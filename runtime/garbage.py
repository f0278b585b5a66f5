"""How often a process that serves looks for garbage.

Messages and turns make no reference cycles, yet Python's collector looks at what is alive after every 700 new objects:
a tenth of a pod's processor time under load. What is in flight goes up and down by tens of thousands of objects with
each batch, so that a limit within that range still took as much.
"""

from __future__ import annotations

import gc

THRESHOLDS = (200_000, 10, 10)


def collect_rarely() -> None:
    """Leaves what was loaded so far out of every collection, and collects seldom. For the main of a process."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
