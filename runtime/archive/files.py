"""Segments as files below a directory."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from runtime.archive.stores import SegmentMissing
from runtime.errors import NotConnected

P = ParamSpec("P")
T = TypeVar("T")


class FileStore:
    """A directory, made when it is first written to. See runtime.archive.stores.Store."""

    def __init__(self, url: str, directory: str) -> None:
        self.url = url
        self._base = Path(directory)

    async def put(self, name: str, data: bytes) -> None:
        """Keeps a file; it appears under its name when all of it is on the disk."""
        await self._do(self._put, name, data)

    async def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """Bytes of a file."""
        return await self._do(self._get, name, start, length)

    async def names(self, prefix: str) -> list[str]:
        """The segments below `prefix`; a file that was being written when its process died is none."""
        return await self._do(self._names, prefix)

    async def _do(self, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await asyncio.to_thread(job, *args, **kwargs)
        except FileNotFoundError as error:
            raise SegmentMissing(f"there is no file {error.filename}") from error
        except OSError as error:
            raise NotConnected(f"the archive at {self.url} cannot be used: {error}") from error

    def _put(self, name: str, data: bytes) -> None:
        place = self._base / name
        _make(place.parent)
        beside = place.with_name(f"{place.name}.{uuid.uuid4().hex}.part")  # others may write the same
        try:
            with beside.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(place)
        finally:
            beside.unlink(missing_ok=True)
        _sync(place.parent)

    def _get(self, name: str, start: int, length: int | None) -> bytes:
        with (self._base / name).open("rb") as file:
            file.seek(start)
            return file.read(-1 if length is None else length)

    def _names(self, prefix: str) -> list[str]:
        found = (self._base / prefix).rglob("*.jsonl.gz")
        return sorted(place.relative_to(self._base).as_posix() for place in found)


def _make(directory: Path) -> None:
    """Makes a directory and those above it, each with its name on the disk."""
    if not directory.is_dir():
        _make(directory.parent)
        directory.mkdir(exist_ok=True)
        _sync(directory.parent)


def _sync(directory: Path) -> None:
    """Puts a directory's entries on the disk: a file without its name would not outlive a power cut."""
    entry = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(entry)
    finally:
        os.close(entry)
