"""What a store of segments must do, and the store that a URL names."""

from __future__ import annotations

from typing import Protocol
from urllib.parse import urlsplit
from urllib.request import url2pathname

from runtime.errors import Misconfigured

BUCKETS = ("s3", "s3a", "gs", "az", "abfs", "abfss")


class SegmentMissing(Exception):
    """There is nothing of that name."""


class Store(Protocol):
    """Segments by name. Raises NotConnected when it cannot be reached now, SegmentMissing when a name leads nowhere."""

    url: str

    async def put(self, name: str, data: bytes) -> None:
        """Keeps `data` under a name; returns when it would outlive a power cut. What is there already is replaced."""

    async def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """`length` bytes from `start` on, or all; fewer when it ends before."""

    async def names(self, prefix: str) -> list[str]:
        """Every name that begins with `prefix`, which ends with a slash."""


def open_store(url: str) -> Store:
    """The store at a URL. Raises Misconfigured when there can be none."""
    parts = urlsplit(url)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        from runtime.archive.files import FileStore  # noqa: PLC0415  # only the store that is needed is loaded

        return FileStore(url.rstrip("/"), url2pathname(parts.path))
    if parts.scheme in BUCKETS:
        from runtime.archive.buckets import BucketStore  # noqa: PLC0415  # the library is an extra

        return BucketStore(url.rstrip("/"))
    raise Misconfigured(
        f"{url!r} names no archive: write file:///a/directory, or s3://bucket/prefix (gs, az) for object storage"
    )
