"""Bodies too large for a message: kept in the broker's object store while their command is in flight.

The message then carries the header Troupe-Object with the object's name, and as its body the object's digest
(BLAKE2b-256 in hex), so that a command can be told from another with the same id without fetching the object.
"""

from __future__ import annotations

import io
from hashlib import blake2b
from typing import Any

from nats import errors
from nats.js.api import ObjectStoreConfig
from nats.js.errors import BadRequestError, BucketNotFoundError, NotFoundError
from nats.js.errors import Error as JetStreamError
from nats.js.object_store import ObjectStore

from runtime.client.connection import Connection
from runtime.errors import CallFailed
from schemas.subjects import OBJECT_BUCKET

MESSAGE_MARGIN_BYTES = 8 * 1024
"""What is left of a message for headers."""

MAX_OBJECT_BYTES = 64 * 1024 * 1024
OBJECT_TTL_S = 24 * 3600.0
_NAME_IN_USE = 10058


def digest_of(body: bytes) -> bytes:
    """What a message carries instead of `body`."""
    return blake2b(body, digest_size=32).hexdigest().encode()


class Objects:
    """The object store of commands in flight."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._store: ObjectStore | None = None

    async def make(self, replicas: int) -> None:
        """Makes the store with so many replicas if there is none. Raises CallFailed (unavailable)."""
        try:
            self._store = await self._bucket(replicas)
        except (errors.Error, JetStreamError, OSError, TimeoutError) as error:
            raise CallFailed("unavailable", f"the object store can be neither read nor made: {error!r}") from error

    async def put(self, name: str, body: bytes) -> None:
        """Keeps `body` under `name` for a day. Raises CallFailed (too_large, unavailable)."""
        if len(body) > MAX_OBJECT_BYTES:
            raise CallFailed(
                "too_large",
                f"the body has {len(body)} bytes and the limit is {MAX_OBJECT_BYTES}: keep it elsewhere",
            )
        try:
            store = self._store = self._store or await self._bucket()
            await store.put(name, body)
        except (errors.Error, JetStreamError, OSError, TimeoutError) as error:
            self._store = None  # it may have been deleted: look again next time
            raise CallFailed(
                "unavailable", f"the body of {name!r} could not be stored: {error!r}; try again"
            ) from error

    async def size(self, name: str) -> int:
        """The bytes of what `put` kept. Raises CallFailed (not_found, too_large, unavailable)."""
        try:
            store = self._store = self._store or await self._bucket()
            size = (await store.get_info(name)).size or 0
        except (errors.Error, JetStreamError, OSError, TimeoutError) as error:
            raise self._failure(name, error) from error
        if size > MAX_OBJECT_BYTES:  # not by `put`, but anybody may write to the store
            raise CallFailed("too_large", f"the body {name!r} has {size} bytes and the limit is {MAX_OBJECT_BYTES}")
        return size

    async def get(self, name: str, max_bytes: int = MAX_OBJECT_BYTES) -> bytes:
        """What `put` kept. Raises CallFailed (not_found when it is no longer there, too_large, unavailable)."""
        buffer = _Bounded(max_bytes)
        try:
            store = self._store = self._store or await self._bucket()
            await store.get(name, writeinto=buffer)
        except _Overflow as error:
            raise CallFailed("too_large", f"the body {name!r} has more than {max_bytes} bytes") from error
        except (errors.Error, JetStreamError, OSError, TimeoutError) as error:
            raise self._failure(name, error) from error
        return buffer.getvalue()

    def _failure(self, name: str, error: Exception) -> CallFailed:
        if isinstance(error, NotFoundError):
            return CallFailed("not_found", f"the body {name!r} is not in the object store (kept for a day)")
        self._store = None
        return CallFailed("unavailable", f"the body {name!r} could not be read: {error!r}")

    async def _bucket(self, replicas: int = 1) -> ObjectStore:
        js = self._connection.jetstream(timeout=5)
        try:
            return await js.object_store(OBJECT_BUCKET)
        except (BucketNotFoundError, NotFoundError):
            try:
                wanted = ObjectStoreConfig(ttl=OBJECT_TTL_S, replicas=replicas)
                return await js.create_object_store(OBJECT_BUCKET, wanted)
            except BadRequestError as error:
                if error.err_code != _NAME_IN_USE:  # another client was faster
                    raise
                return await js.object_store(OBJECT_BUCKET)


class _Overflow(Exception):
    """The object is larger than its description says."""


class _Bounded(io.BytesIO):
    """Bytes up to a limit. nats-py's own buffer copies all that came before with each chunk."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._left = limit

    def write(self, data: Any, /) -> int:
        self._left -= len(data)
        if self._left < 0:
            raise _Overflow
        return super().write(data)
