"""Segments in object storage: S3 and what speaks its protocol, Google Cloud Storage, Azure Blob Storage.

Credentials, region and endpoint come from the environment, as the storage's own tools have them (`AWS_ACCESS_KEY_ID`,
`AWS_ENDPOINT_URL`, …).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from runtime.archive.stores import SegmentMissing
from runtime.errors import Misconfigured, NotConnected

try:
    import obstore
    from obstore import exceptions
    from obstore.store import from_url
except ImportError as error:
    raise Misconfigured(
        "an archive in object storage needs the extra 'archive': pip install 'troupe[archive]'"
    ) from error


P = ParamSpec("P")
T = TypeVar("T")


class BucketStore:
    """A bucket and a prefix in it. See runtime.archive.stores.Store."""

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            self._store = from_url(url)
        except (exceptions.BaseError, ValueError) as error:
            raise Misconfigured(f"the archive {url!r} cannot be used: {error}") from error

    async def put(self, name: str, data: bytes) -> None:
        """Keeps an object; the storage answers when it is durable."""
        await self._do(self._put, name, data)

    async def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """Bytes of an object."""
        return await self._do(self._get, name, start, length)

    async def names(self, prefix: str) -> list[str]:
        """The segments below `prefix`."""
        return await self._do(self._names, prefix)

    async def _do(self, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        # In a thread: the library's own coroutines may still be at work when the interpreter ends, which aborts it.
        try:
            return await asyncio.to_thread(job, *args, **kwargs)
        except FileNotFoundError as error:
            raise SegmentMissing(f"there is no such object in {self.url}") from error
        except (exceptions.BaseError, OSError) as error:
            text = str(error).partition("\n")[0]
            raise NotConnected(f"the archive at {self.url} cannot be used: {text}") from error

    def _put(self, name: str, data: bytes) -> None:
        obstore.put(self._store, name, data)

    def _get(self, name: str, start: int, length: int | None) -> bytes:
        if length is None:
            return bytes(obstore.get(self._store, name).bytes())[start:]
        return bytes(obstore.get_range(self._store, name, start=start, length=length))

    def _names(self, prefix: str) -> list[str]:
        found = [one["path"] for page in obstore.list(self._store, prefix) for one in page]
        return sorted(name for name in found if name.endswith(".jsonl.gz"))
