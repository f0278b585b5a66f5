"""One connection to NATS, with a receive path and a send path for many small messages.

nats-py hands every message to a queue and a task per subscription (about 5 µs), and builds headers one by one. At tens
of thousands of messages a second that is most of the work, so `subscribe_direct` calls back from the read loop, and
`post` puts a ready header block on the wire. Both override internals of nats-py 2.16, which pyproject pins; tests in
tests/client/test_connection.py hold them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from nats import errors
from nats.aio.client import Client
from nats.aio.subscription import Subscription

from runtime.client.parser import MessageParser
from runtime.errors import NotConnected, TroupeError

Direct = Callable[[str, str, bytes, bytes], None]
"""(subject, reply, body, header block) of one message. Must not wait and must not raise."""

_log = logging.getLogger("troupe.nats")
_HEADER_LINE = b"NATS/1.0\r\n"
_UNBOUNDED = 2**31
_STATUS = "Status"
_STORED = b"$JS.ACK."
"""How the reply subject of a stored message begins."""
_PING = b"PING\r\n"
MAX_PENDING_BYTES = 64 * 1024 * 1024


class MessageTooLarge(TroupeError):
    """The message is larger than the broker takes."""


class Connection(Client):
    """A nats-py client with the two fast paths. Everything else of nats-py works as documented there."""

    def __init__(self) -> None:
        super().__init__()
        self._direct: dict[int, Direct] = {}
        self._ps: MessageParser = MessageParser(self)
        self._writing = False
        self.connected = asyncio.Event()
        """Set while the server can be reached, as far as is known."""
        self.resumed: set[Callable[[], None]] = set()
        """Called after each reconnect, when the subscriptions are back. Must not wait and must not raise."""

    async def subscribe_direct(self, subject: str, callback: Direct, *, queue: str = "") -> Subscription:
        """Subscribes `callback`, which is called from the read loop for each message, in order."""
        sid = self._sid + 1  # before subscribing: the first message may arrive while subscribe() still waits
        self._direct[sid] = callback
        subscription = await self.subscribe(
            subject, queue=queue, cb=_never, pending_msgs_limit=_UNBOUNDED, pending_bytes_limit=_UNBOUNDED
        )
        assert subscription._id == sid, "nats-py gives out subscription ids in another way than it did"
        return subscription

    async def wait_connected(self, timeout_s: float) -> bool:
        """Whether the server can be reached, waiting up to `timeout_s` seconds until it can."""
        if self.is_closed:
            return False
        if not self.connected.is_set():
            try:
                async with asyncio.timeout(timeout_s):
                    await self.connected.wait()
            except TimeoutError:
                return False
        return not self.is_closed

    def post(self, subject: str, body: bytes, header_block: bytes = b"", reply: str = "") -> None:
        """Puts one message into the send buffer, without waiting and without checking the subject.

        `header_block` comes from `header_block()`. Raises NotConnected when the connection is closed, or the buffer is
        full and the server takes nothing, and MessageTooLarge for a body larger than the server takes.
        """
        if self.is_closed:
            raise NotConnected("the connection to NATS is closed")
        if self._pending_data_size > self._max_pending_size and self._stands_still():
            raise NotConnected("NATS cannot be reached, or does not read, and the send buffer is full")
        size = len(header_block) + len(body)
        if size > self._max_payload:
            raise MessageTooLarge(f"a message of {size} bytes to {subject[:200]}: the broker takes {self._max_payload}")
        target = f"{subject} {reply}" if reply else subject
        if header_block:
            command = b"HPUB %b %d %d\r\n%b%b\r\n" % (target.encode(), len(header_block), size, header_block, body)
        else:
            command = b"PUB %b %d\r\n%b\r\n" % (target.encode(), size, body)
        self._pending.append(command)
        self._pending_data_size += len(command)
        if not self._writing:
            self._writing = True
            asyncio.get_running_loop().call_soon(self.write_posted)

    def write_posted(self) -> None:
        """Writes what was posted since the loop's last turn: waking nats-py's flusher takes longer than this.

        That comes by itself in the next turn; at once for whoever has nothing more to post.
        """
        self._writing = False
        if not self._pending or not self.is_connected:
            return  # a reconnect sends what waits
        writer = getattr(self._transport, "_io_writer", None)
        if writer is not None and writer.transport.get_write_buffer_size() == 0 and not writer.transport.is_closing():
            pending, self._pending, self._pending_data_size = self._pending, [], 0
            writer.writelines(pending)
            return
        queue = self._flush_queue
        if queue is not None and queue.empty():  # it waits until the socket takes more
            queue.put_nowait(asyncio.get_running_loop().create_future())

    def _stands_still(self) -> bool:
        """Whether nothing leaves the send buffer: the connection is broken, or its socket still holds what went before.

        A buffer that is merely full (many messages posted at once) is emptied when the flusher gets its turn.
        """
        writer = getattr(self._transport, "_io_writer", None)
        return not self.is_connected or (writer is not None and writer.transport.get_write_buffer_size() > 0)

    def receive_direct(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> bool:
        """Hands a message to its direct subscription; False when it has none."""
        direct = self._direct.get(sid)
        if direct is None:
            return False
        self.stats["in_msgs"] += 1
        self.stats["in_bytes"] += len(data)
        try:
            try:
                readable = subject.decode()
            except UnicodeDecodeError:
                readable = subject.decode("utf-8", "backslashreplace")
            direct(readable, reply.decode(), data, headers or b"")
        except Exception:
            # An exception would end nats-py's read loop, and with it the connection, without a word.
            _log.exception("a receiver of %r failed; the message is dropped here", subject[:200])
        return True

    async def close(self) -> None:
        """Closes for good. What a broken connection has not sent yet is dropped."""
        try:
            await super().close()
        except (OSError, RuntimeError):
            # nats-py writes what is pending to a transport that may be gone, which uvloop refuses.
            _log.debug("the connection was broken when it was closed", exc_info=True)

    def _build_message(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: Any) -> Any:
        # A subject may hold any bytes, and an exception would end the read loop just as well.
        readable = subject.decode("utf-8", "backslashreplace").encode()
        if headers and _STATUS in headers and reply.startswith(_STORED):
            # nats-py's fetch takes every message with this header for the broker's own word, which has no such reply.
            headers[_STATUS.lower()] = headers.pop(_STATUS)
        return super()._build_message(sid, readable, reply, data, headers)

    async def request(self, *arguments: Any, **named: Any) -> Any:
        """As nats-py's; a cancellation always ends it."""
        with _cancellable():
            return await super().request(*arguments, **named)

    async def _read_loop(self) -> None:
        if (reader := getattr(self._transport, "_io_reader", None)) is not None:  # a web socket has none
            self._ps.read_from(reader)
        await super()._read_loop()

    async def _flush_pending(self, force_flush: bool = False) -> Any:
        try:
            with _cancellable():
                return await super()._flush_pending(force_flush)
        except (OSError, RuntimeError):
            # The transport is gone (uvloop says so by RuntimeError); the read loop has not noticed yet. Whoever only
            # subscribed or unsubscribed must not fail for it: the reconnect sends what waits.
            _log.debug("what waits is sent after the reconnect", exc_info=True)
            flushed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            flushed.set_result(None)
            return flushed

    async def _send_ping(self, future: asyncio.Future[Any] | None = None) -> None:
        # nats-py writes the PING past what is still in the buffer, so that its flush() would prove nothing.
        self._pongs.append(future or asyncio.get_running_loop().create_future())
        self._pending.append(_PING)
        self._pending_data_size += len(_PING)
        await self._flush_pending()

    async def _process_op_err(self, e: Exception) -> None:
        if not self.is_reconnecting:
            self.connected.clear()
        await super()._process_op_err(e)

    async def _process_err(self, err_msg: str) -> None:
        # nats-py closes for good after any error line it does not know; a connection of ours always comes back.
        text = err_msg.strip("'")
        if "permissions violation" in text:
            await self._error_cb(errors.Error(f"nats: {text}"))
        else:
            await self._process_op_err(errors.Error(f"nats: {text}"))

    def _remove_sub(self, sid: int, max_msgs: int = 0) -> None:
        self._direct.pop(sid, None)
        super()._remove_sub(sid, max_msgs)


@contextmanager
def _cancellable() -> Iterator[None]:
    """Within it, a cancellation is not lost: nats-py drops one while it flushes, and so may `wait_for` before 3.12."""
    task = asyncio.current_task()
    requests = 0 if task is None else task.cancelling()
    try:
        yield
    finally:
        if task is not None and task.cancelling() > requests:
            raise asyncio.CancelledError


def header_block(headers: dict[str, str]) -> bytes:
    """Headers in wire form, for `Connection.post`. Values must not hold CR or LF: raises ValueError."""
    if not headers:
        return b""
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if lines.count("\n") != len(headers) or lines.count("\r") != len(headers):
        raise ValueError("a header value holds a line break")
    return _HEADER_LINE + lines.encode() + b"\r\n"


def parse_headers(block: bytes) -> dict[str, str]:
    """The headers of a block as it came in; for a status line, `Status` and `Description` as nats-py names them."""
    if not block:
        return {}
    lines = block.decode("utf-8", "replace").split("\r\n")
    first = lines[0]
    if len(first) <= 9:
        try:
            headers = dict([line.split(": ", 1) for line in lines[1:-2]])
            if len(headers) == len(lines) - 3:
                return headers
        except ValueError:
            pass  # a line in another style: read each with care
    headers = {}
    if len(first) > 9:
        headers["Status"], _, headers["Description"] = first[9:].partition(" ")
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if colon:
            headers.setdefault(name, value.strip())
    return headers


async def connect(
    url: str,
    *,
    name: str,
    inbox_prefix: str = "_INBOX",
    on_error: Callable[[Exception], Awaitable[None]] | None = None,
    on_reconnect: Callable[[], Awaitable[None]] | None = None,
    on_disconnect: Callable[[], Awaitable[None]] | None = None,
    connect_timeout_s: float = 2.0,
    **options: Any,
) -> Connection:
    """Connects to `url` (several, separated by commas) and stays connected.

    A dead connection is noticed within some 4 s (two pings), and reconnecting never gives up. Raises NotConnected when
    no server is reached within `connect_timeout_s` seconds in all, or at once when the credentials are refused.
    """
    connection = Connection()
    established = False
    last_error: Exception | None = None
    connecting = asyncio.current_task()
    requests = 0 if connecting is None else connecting.cancelling()

    async def errored(error: Exception) -> None:
        nonlocal last_error
        if established:
            await (on_error or _log_error)(error)
            return
        last_error = error
        if connecting is not None and connecting is asyncio.current_task() and connecting.cancelling() > requests:
            raise asyncio.CancelledError  # an attempt that failed just then lost it, and nats-py would try for ever
        if "authorization" in str(error).lower() or "authentication" in str(error).lower():
            raise errors.AuthorizationError  # nats-py would try the same credentials for ever

    async def reconnected() -> None:
        connection.connected.set()
        if on_reconnect is not None:
            await on_reconnect()
        for resume in tuple(connection.resumed):
            resume()

    async def disconnected() -> None:
        connection.connected.clear()
        if on_disconnect is not None:
            await on_disconnect()

    settings: dict[str, Any] = {
        "inbox_prefix": inbox_prefix,
        "error_cb": errored,
        "reconnected_cb": reconnected,
        "disconnected_cb": disconnected,
        "connect_timeout": connect_timeout_s,
        "max_reconnect_attempts": -1,
        "reconnect_time_wait": 0.1,
        "ping_interval": 2,
        "max_outstanding_pings": 2,
        "pending_size": MAX_PENDING_BYTES,
        **options,
    }
    try:
        async with asyncio.timeout(connect_timeout_s):
            with _cancellable():
                await connection.connect(servers=url.split(","), name=name, **settings)
    except (TimeoutError, OSError, errors.Error, ValueError) as error:
        await _discard(connection)
        cause = last_error if isinstance(error, TimeoutError) and last_error is not None else error
        raise NotConnected(
            f"NATS at {redacted(url)} cannot be reached: {str(cause) or type(cause).__name__}; "
            "check RUNTIME_NATS_URL and that the server runs"
        ) from error
    except BaseException:
        await _discard(connection)
        raise
    established = True
    connection.connected.set()
    return connection


async def _discard(connection: Connection) -> None:
    try:
        await connection.close()
    except (OSError, errors.Error):
        _log.debug("a connection that was never made could not be closed", exc_info=True)


def redacted(url: str) -> str:
    """The URL without its credentials, for errors and logs."""
    return ",".join(
        f"{one.partition('//')[0]}//{one.rpartition('@')[2]}" if "@" in one else one for one in url.split(",")
    )


async def _never(message: Any) -> None:
    raise AssertionError("a direct subscription queued a message")


async def _log_error(error: Exception) -> None:
    _log.warning("nats: %s", error or type(error).__name__)
