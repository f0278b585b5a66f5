"""What the Worlds of tests run on: an in-memory world, or a pod on real servers.

    TROUPE_TEST_ENGINE=real pytest
    pytest -p runtime.testing.plugin --engine=real
    World(checkout, engine="real")                     # one test only
"""

from __future__ import annotations

import os
from typing import Literal, cast, get_args

Engine = Literal["memory", "real"]

VARIABLE = "TROUPE_TEST_ENGINE"
NATS_URL = "TROUPE_TEST_NATS_URL"
POSTGRES_URL = "TROUPE_TEST_POSTGRES_URL"


def chosen() -> Engine:
    """What the environment asks for. Raises ValueError for another word."""
    asked = os.environ.get(VARIABLE) or "memory"
    for engine in get_args(Engine):
        if asked == engine:
            return cast("Engine", engine)
    raise ValueError(f"{VARIABLE} is {asked!r}: it must be memory or real")
