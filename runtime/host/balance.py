"""Who owns which lane: rendezvous hashing with bounded load.

Every pod computes the same answer from the same list of pods. A pod that comes or goes moves few lanes, and no pod gets
more than its share (rounded up). Source: Thaler and Ravishankar, "Using name-based mappings to increase hit rates",
1998; Mirrokni, Thorup and Zadimoghaddam, "Consistent hashing with bounded loads", 2016.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from hashlib import blake2b


def assign(lanes: Sequence[int], pods: Sequence[str]) -> dict[int, str]:
    """lane → pod. `pods` must not be empty."""
    share = -(-len(lanes) // len(pods))
    ranked = sorted(((_weight(pod, lane), lane, pod) for pod in pods for lane in lanes), reverse=True)
    load: Counter[str] = Counter()
    owners: dict[int, str] = {}
    for _, lane, pod in ranked:
        if lane not in owners and load[pod] < share:
            owners[lane] = pod
            load[pod] += 1
    return owners


def _weight(pod: str, lane: int) -> int:
    return int.from_bytes(blake2b(f"{pod}|{lane}".encode(), digest_size=8).digest(), "big")
