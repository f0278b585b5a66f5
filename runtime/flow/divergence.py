"""What is told when a workflow asks for something else than it did before."""

from __future__ import annotations

import zlib
from typing import Any

from runtime.arguments import UNENCODABLE, encode_sorted
from runtime.recorder import Entry
from schemas.digest import signed

SHOWN = 120
"""Characters of a request's arguments that an error shows."""

WAYS_ON = (
    "Ways on: keep the old way for runs that have gone it (`if ctx.patched('id'): new … else: old …`) and replay this "
    "run's dead letter; or fork the run before the difference (`runtime runs fork`). The code it was begun with "
    "also goes on."
)


def digest_of(asked: Any) -> int:
    """Tells what was asked for from other arguments: the same in every process. 0 for nothing."""
    return 0 if asked is None else signed(zlib.crc32(_text(asked)))


def shown(asked: Any) -> str:
    """The arguments of a request, as errors show them."""
    text = "" if asked is None else _text(asked).decode("utf-8", "replace")
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"


def _hex(digest: int) -> str:
    return f"{digest & 0xFFFFFFFF:08x}"


def _text(asked: Any) -> bytes:
    try:
        return encode_sorted(asked)
    except (*UNENCODABLE, RecursionError):
        # What has no JSON form (a connection, a function) cannot be compared; what it is can.
        return _types(asked).encode()


def _types(asked: Any) -> str:
    if isinstance(asked, (tuple, list)):
        return f"[{','.join(_types(one) for one in asked)}]"
    if isinstance(asked, dict):
        return "{" + ",".join(f"{key!r}:{_types(one)}" for key, one in asked.items()) + "}"
    return type(asked).__qualname__


def asked_otherwise(actor: str, run: str, entry: Entry, name: str, asked: Any, where: str) -> str:
    """The text when request `entry.number` was another one."""
    digest = digest_of(asked)
    if entry.step == name:
        what = (
            f"recorded is {name!r} with arguments of digest {_hex(entry.digest)}, and now it is asked for with "
            f"{shown(asked)} (digest {_hex(digest)})"
        )
    else:
        what = (
            f"recorded is {entry.step!r} (arguments: digest {_hex(entry.digest)}), and now {name!r} is asked for, with "
            f"{shown(asked) or 'no arguments'} (digest {_hex(digest)})"
        )
    at = f" at {where}" if where else ""
    return f"{actor}, run {run}: the workflow left its journal{at}: request {entry.number}: {what}. {WAYS_ON}"


def not_asked(actor: str, run: str, entry: Entry, asked: int, where: str) -> str:
    """The text when the run has come to rest, or to its end, and something is recorded that it has not asked for."""
    return (
        f"{actor}, run {run}: the workflow left its journal: recorded is request {entry.number}, {entry.step!r} "
        f"(arguments: digest {_hex(entry.digest)}), and now the code has made {asked} requests and is at {where}. "
        f"{WAYS_ON}"
    )
