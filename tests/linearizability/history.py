"""What a client saw: operations with when they were asked and when they were answered."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple


class Operation(NamedTuple):
    """One operation on one key.

    `invoked` and `returned` are seconds on one monotonic clock. One whose outcome nobody knows has `returned` infinite
    and no `result`: it may have taken effect at any time since it was invoked, or never. `way` is how it was sent.
    """

    key: str
    call: str
    argument: Any
    result: Any
    invoked: float
    returned: float
    client: int = 0
    way: str = ""

    @property
    def known(self) -> bool:
        """Whether it was answered."""
        return self.returned < math.inf


def unknown(operation: Operation) -> Operation:
    """The same operation, not answered."""
    return operation._replace(result=None, returned=math.inf)


def by_key(operations: Iterable[Operation]) -> dict[str, list[Operation]]:
    """Histories by key, each in the order of invocation. A whole is linearizable exactly when each key's history is.

    Herlihy and Wing, Linearizability: a correctness condition for concurrent objects, 1990, section 3.2.
    """
    found: dict[str, list[Operation]] = defaultdict(list)
    for operation in sorted(operations, key=lambda one: one.invoked):
        found[operation.key].append(operation)
    return dict(found)
