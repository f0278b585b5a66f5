"""What a peer is to the benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from runtime.infra import Infra
from tests.peers.work import Outcome, Setting

Axes = Mapping[str, Sequence[int | str]]
"""The values of each setting that the sweep tries; it begins with the first of each."""


class LeftOut(Exception):
    """A peer that cannot be measured here, and why. The report says so; no figure is made up."""


class Ground:
    """What every measurement stands on: durable servers, and room for files.

    Args:
        infra: Postgres with full durability, and NATS.
        state: the directory that keeps what was installed and found.
        scratch: a directory for the files of servers of a peer's own; on the disk of Postgres.
    """

    def __init__(self, infra: Infra, state: Path, scratch: Path) -> None:
        self.infra = infra
        self.state = state
        self.scratch = scratch
        self._number = 0

    @property
    def servers(self) -> dict[str, int]:
        """The pids of Postgres and NATS."""
        nats, postgres = self.infra.nats.pid, self.infra.postgres.pid
        assert nats is not None
        assert postgres is not None
        return {"postgres": postgres, "nats": nats}

    def room(self, name: str) -> Path:
        """A new directory."""
        self._number += 1
        path = self.scratch / f"{name}-{self._number}"
        path.mkdir()
        return path


class Peer(Protocol):
    """One system that can do some of the works.

    `name` is its short name, `title` how the report calls it. `how` says in a sentence or two what a command is there,
    and `durability` what its answer stands for. `works` has, by name of the work, what the sweep may turn.
    """

    name: str
    title: str
    how: str
    durability: str
    works: Mapping[str, Axes]

    def prepare(self, ground: Ground) -> dict[str, str]:
        """Installs what is missing; gives the versions of what will run. Raises LeftOut."""

    def measure(self, ground: Ground, work: str, setting: Setting, seconds: float) -> Outcome:
        """Does a work for so long, after a warm-up, from an empty store. Raises Miscounted."""
