"""What the Worlds of tests run on: an in-memory world, or a pod on real servers.

    TROUPE_TEST_ENGINE=real pytest
    pytest -p runtime.testing.plugin --engine=real
    World(checkout, engine="real")                     # one test only
"""

from __future__ import annotations

import os
from typing import Literal

Engine = Literal["memory", "real"]

VARIABLE = "TROUPE_TEST_ENGINE"
NATS_URL = "TROUPE_TEST_NATS_URL"
POSTGRES_URL = "TROUPE_TEST_POSTGRES_URL"


def chosen() -> Engine:
    """What the environment asks for. Raises ValueError for another word."""
    asked = os.environ.get(VARIABLE) or "memory"
    if asked == "memory" or asked == "real":  # noqa: PLR1714  # so that the type is known
        return asked
    raise ValueError(f"{VARIABLE} is {asked!r}: it must be memory or real")
