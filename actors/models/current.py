"""The models of this process: those of its fleet, reached when one is asked for the first time.

The fleet is the file that RUNTIME_FLEET names, or `fleet.yaml` where the process was started; without one everything is
served by the model that is built in.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from actors.models.calling import Caller
from actors.models.direct import Direct, is_direct
from actors.models.fleet import OFFLINE, Fleet
from actors.models.model import Model, Target
from actors.models.offline import OfflineModel

if TYPE_CHECKING:
    from actors.models.reached import LiteLLM

FILE = "fleet.yaml"
VARIABLE = "RUNTIME_FLEET"


class Reach:
    """What reaches each target; litellm is loaded for the first one that needs it."""

    def __init__(self) -> None:
        self._offline: Model = OfflineModel()
        self._direct: Direct | None = None
        self._others: LiteLLM | None = None

    def __call__(self, target: Target) -> Model:
        if target.model == OFFLINE:
            return self._offline
        return self.direct() if is_direct(target) else self.others()

    def direct(self) -> Direct:
        """What reaches endpoints that need no litellm. Raises Misconfigured when httpx is not there."""
        if self._direct is None:
            self._direct = Direct()
        return self._direct

    def others(self) -> LiteLLM:
        """What reaches all others but the built-in model. Raises Misconfigured when litellm is not there."""
        if self._others is None:
            from actors.models.reached import LiteLLM  # noqa: PLC0415  # seconds, and 180 MB

            self._others = LiteLLM()
        return self._others


_current: Caller | None = None


def models() -> Caller:
    """Asks the models of this process. Raises Misconfigured when the fleet's file cannot be read."""
    global _current
    if _current is None:
        _current = Caller(_fleet(), Reach())
    return _current


@contextmanager
def using(caller: Caller) -> Iterator[None]:
    """These models meanwhile; for tests, and for who brings a fleet of their own."""
    global _current
    before, _current = _current, caller
    try:
        yield
    finally:
        _current = before


def _fleet() -> Fleet:
    named = os.environ.get(VARIABLE)
    return named_fleet(Path(named) if named else None)[0]


def named_fleet(file: Path | None) -> tuple[Fleet, Path | None]:
    """The fleet of a file, by default of `fleet.yaml` here, and that file; the built-in model's when there is none.

    Raises Misconfigured when the file cannot be read.
    """
    path = file or Path(FILE)
    return (Fleet.load(path), path) if file is not None or path.exists() else (Fleet(), None)
