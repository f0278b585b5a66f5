"""A configuration that a test changes while handlers read it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from runtime.ambient import configuration
from runtime.ambient.configuration import ConfigFile


class Settings:
    """What handlers read."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values

    def read(self) -> dict[str, Any]:
        return self.values


@contextmanager
def configured(**values: Any) -> Iterator[Settings]:
    """Within it, handlers of this process have this configuration."""
    found = Settings(values)
    configuration.use(found)
    try:
        yield found
    finally:
        configuration.use(ConfigFile())
