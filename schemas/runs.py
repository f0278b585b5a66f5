"""Run ids: a submitted command's address and id in one word that fits a URL.

A run id holds all that is needed to find the run again, so that any process can, and nobody keeps a table of them. It
is no secret and grants nothing: the tenant is not in it, but comes from the credentials of whoever asks.
"""

from __future__ import annotations

import binascii
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from typing import Any, Final, Literal, NamedTuple

import msgspec

from schemas import headers
from schemas.address import BadAddress, check_name, encode_token
from schemas.headers import is_id
from schemas.wire import Failure


class BadRunId(ValueError):
    """This is not a run id."""


class RunKey(NamedTuple):
    """What a run id holds: the actor's kind and key, the command's id, and the digest of its method and body.

    Without the digest it is whatever was last sent under that id.
    """

    kind: str
    key: str
    command_id: str
    digest: int | None = None


_decode = msgspec.msgpack.Decoder(list[str | int]).decode


def encode_run_id(kind: str, key: str, command_id: str, digest: int | None = None) -> str:
    """The run id of a command: base64url without padding of the MessagePack list [kind, key, command id, digest].

    The digest is left out when it is not known.
    """
    parts = (kind, key, command_id) if digest is None else (kind, key, command_id, digest)
    return urlsafe_b64encode(msgspec.msgpack.encode(parts)).rstrip(b"=").decode()


def decode_run_id(run_id: str) -> RunKey:
    """What `run_id` holds. Raises BadRunId when it is not one that `encode_run_id` makes."""
    try:
        raw = urlsafe_b64decode(run_id.encode("ascii") + b"=" * (-len(run_id) % 4))
        key = msgspec.convert(_decode(raw), RunKey)
        check_name(key.kind, "kind")
        encode_token(key.key)
    except (UnicodeEncodeError, binascii.Error, msgspec.DecodeError, BadAddress) as error:
        raise BadRunId(f"{run_id[:80]!r} is not a run id: use the one that the submission answered with") from error
    if not is_id(key.command_id) or encode_run_id(*key) != run_id:
        raise BadRunId(f"{run_id[:80]!r} is not a run id: use the one that the submission answered with")
    return key


MAX_TAGS = 16
_TAG = re.compile(r"[!-+\--~]{1,64}\Z")


def tags_of(header: str) -> tuple[str, ...]:
    """The tags in a header `Troupe-Tags`, in its order, each once.

    A tag is 1 to 64 printable ASCII characters without spaces and commas. Raises ValueError.
    """
    if not header:
        return ()
    tags = tuple(dict.fromkeys(word.strip() for word in header.split(",")))
    wrong = next((tag for tag in tags if not _TAG.match(tag)), None)
    if wrong is not None:
        raise ValueError(f"{wrong[:80]!r} is no tag: 1 to 64 printable ASCII characters without spaces and commas")
    if len(tags) > MAX_TAGS:
        raise ValueError(f"{len(tags)} tags are too many: a run has at most {MAX_TAGS}")
    return tags


MAX_TIMEOUT_S = 3.2e9


def timeout_of(header: str) -> float:
    """The seconds in a header `Troupe-Queue-Timeout` or `Troupe-Run-Timeout`. Raises ValueError."""
    try:
        seconds = float(header)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= MAX_TIMEOUT_S:
        raise ValueError(f"{header[:40]!r} is no time-out: a number of seconds above 0")
    return seconds


RUN_HEADERS: Final[dict[str, Callable[[str], Any]]] = {
    headers.TAGS: tags_of,
    headers.QUEUE_TIMEOUT: timeout_of,
    headers.RUN_TIMEOUT: timeout_of,
}
"""What a command says of its run; each raises ValueError for what cannot be used."""


class RunStatus(msgspec.Struct, omit_defaults=True):
    """What the owner answers to the query `$result` {"id", "wait_s", "digest"}.

    `unknown`: no trace of the command yet: it waits in the broker, or was never sent, or its entry is past the window.
    `accepted`: durable and running. `done`: `result` holds. `rejected`, `failed`: `error` holds; `failed` is also a
    command that was refused.
    """

    status: Literal["unknown", "accepted", "done", "rejected", "failed"]
    seq: int = 0
    result: msgspec.Raw = msgspec.Raw(b"null")
    error: Failure | None = None

    @property
    def settled(self) -> bool:
        """Whether this is the last word."""
        return self.status in ("done", "rejected", "failed")
