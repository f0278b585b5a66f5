"""Segments in object storage: S3 and what speaks its protocol, Google Cloud Storage, Azure Blob Storage.

Credentials, region and endpoint come from the environment, as the storage's own tools have them (`AWS_ACCESS_KEY_ID`,
`AWS_ENDPOINT_URL`, …).
"""

from __future__ import annotations

import posixpath

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
        try:
            await obstore.put_async(self._store, name, data)
        except (exceptions.BaseError, OSError) as error:
            raise self._unavailable(error) from error

    async def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """Bytes of an object."""
        try:
            if length is None:
                found = await obstore.get_async(self._store, name)
                return bytes(await found.bytes_async())[start:]
            return bytes(await obstore.get_range_async(self._store, name, start=start, length=length))
        except (exceptions.NotFoundError, FileNotFoundError) as error:
            raise SegmentMissing(f"there is no object {posixpath.join(self.url, name)}") from error
        except (exceptions.BaseError, OSError) as error:
            raise self._unavailable(error) from error

    async def names(self, prefix: str) -> list[str]:
        """The segments below `prefix`."""
        found = []
        try:
            async for page in obstore.list(self._store, prefix):
                found += [one["path"] for one in page if one["path"].endswith(".jsonl.gz")]
        except (exceptions.BaseError, OSError) as error:
            raise self._unavailable(error) from error
        return sorted(found)

    def _unavailable(self, error: Exception) -> NotConnected:
        return NotConnected(f"the archive at {self.url} cannot be used: {error}")
