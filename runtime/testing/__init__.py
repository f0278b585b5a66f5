"""What tests of actors need; no server, and time that passes at once.

    from runtime.testing import World

    def test_a_paid_order_is_shipped() -> None:
        world = World(checkout, stock, steps={charge: Payment("p1")})
        world.signal(checkout, "o1", "start", "packed")
        assert world.ask(checkout, "o1", "run", Order("book"), id="start", type=Receipt).payment == "p1"

    entity.given(...)       one entity: given these events, when this command, then these events (runtime.scenario)
    workflow.given(...)     one workflow: given what came of its steps, when this happens, then it asks for that
    World(...)              several actors together

This World has each workflow die after every entry of its journal and start anew (`always_replay`), so what code does
otherwise in a replay is found here. Say always_replay=False where a test counts what steps side by side did.

The same tests run on the real engine, a pod on NATS and Postgres with a time that skips as well: with
TROUPE_TEST_ENGINE=real in the environment, or World(..., engine="real"); see runtime.testing.real.
"""

from __future__ import annotations

from typing import Any

from runtime.clock import ManualClock
from runtime.kind import Kind
from runtime.scenario import Scenario
from runtime.story import Story
from runtime.stubs import Steps
from runtime.testing.engine import Engine, chosen
from runtime.world import World as _World

__all__ = ["ManualClock", "Scenario", "Story", "World"]


class World(_World):
    """A runtime.World in which workflows always replay, or the same on the real engine."""

    def __new__(cls, *kinds: Kind, engine: Engine | None = None, **given: Any) -> World:
        """`engine` is the environment's (runtime.testing.engine) by default."""
        if cls is World and (engine or chosen()) == "real":
            from runtime.testing.real import RealWorld

            return object.__new__(RealWorld)
        return object.__new__(cls)

    def __init__(
        self,
        *kinds: Kind,
        clock: ManualClock | None = None,
        seed: int = 0,
        always_replay: bool = True,
        steps: Steps | None = None,
        engine: Engine | None = None,
    ) -> None:
        """See runtime.World."""
        super().__init__(*kinds, clock=clock, seed=seed, always_replay=always_replay, steps=steps)

    def close(self) -> None:
        """Ends what a world on the real engine runs; the next one, and the end of a test in pytest, do it too."""
