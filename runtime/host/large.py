"""What is too large for a message: kept in the broker's object store for a day, where the message says.

A reply then is the failure `too_large`, with the object's name in its details: whoever knows of that fetches the whole
reply, and whoever does not hears what is so. A command of an outbox carries the object's name as those of clients do.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec

from runtime.client.objects import Objects, digest_of
from runtime.errors import CallFailed
from runtime.host.answers import MESSAGE_MARGIN_BYTES, encode_reply
from runtime.host.ports import OutboxRow
from runtime.host.tasks import Tasks
from schemas import headers as names
from schemas.wire import Failure

_log = logging.getLogger("troupe.large")

_headers = msgspec.json.Decoder(dict[str, str])


class Large:
    """The large messages of one pod.

    Args:
        post: publishes (subject, body).
        token: gives names that nobody guesses.
        max_payload: bytes that a message may have.
    """

    def __init__(
        self,
        objects: Objects,
        post: Callable[[str, bytes], None],
        max_payload: Callable[[], int],
        token: Callable[[int], str],
        tasks: Tasks,
    ) -> None:
        self._objects = objects
        self._post = post
        self._max_payload = max_payload
        self._token = token
        self._tasks = tasks

    def fits(self, reply: bytes) -> bool:
        """Whether an encoded reply goes into a message."""
        return len(reply) <= self._max_payload() - MESSAGE_MARGIN_BYTES

    def send(self, subject: str, reply: bytes, id: str, *, packed: bool) -> None:
        """Publishes an encoded reply to the command `id`, or where it is."""
        if self.fits(reply):
            self._post(subject, reply)
        else:
            self._tasks.start(self._keep(subject, reply, id, packed=packed), f"keeping a large reply to {id}")

    async def _keep(self, subject: str, reply: bytes, id: str, *, packed: bool) -> None:
        name = f"replies/{self._token(16)}"
        text = f"the result has {len(reply)} bytes, more than a message may have"
        try:
            await self._objects.put(name, reply)
        except CallFailed as error:
            _log.warning("a reply to %s cannot be kept: %s", id, error)
            failure = Failure("too_large", f"{text}, and cannot be kept elsewhere: {error}")
        else:
            details = {"object": name, "bytes": len(reply)}
            failure = Failure("too_large", f"{text}; it is in the object store for a day", details=details)
        self._post(subject, encode_reply(id, 0, b"null", failure, packed=packed))

    async def checked_in(self, row: OutboxRow) -> OutboxRow:
        """A command of an outbox as it is sent: its body in the object store. Raises CallFailed (unavailable)."""
        name = f"sent/{row.message_id}"
        await self._objects.put(name, row.body)
        headers = _headers.decode(row.headers) | {names.OBJECT: name}
        return row._replace(headers=msgspec.json.encode(headers).decode(), body=digest_of(row.body))
