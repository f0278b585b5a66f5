"""The calls that wait for one another, oldest first, as a command carries them in `Troupe-Chain`.

    <kind>.<key token>.<method>[!],…

Each is a call whose handler waits for the answer of the next, and the last for the command that carries the header; `!`
marks those that hold their key. All are of the command's own tenant. The header only ever refuses the command that
carries it, so it is believed as it stands.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from schemas.address import MAX_TOKEN_BYTES, Address, decode_token, encode_token

MAX_CALLS = 16
"""Calls that may wait for one another; a longer chain is taken for one without end."""

_CALL = re.compile(rf"([\w-]{{1,64}})\.([\w~%-]{{1,{MAX_TOKEN_BYTES}}})\.([\w-]{{1,64}})(!?)", re.ASCII)


class Call(NamedTuple):
    """A call that waits. `holds` says whether it holds its actor's key meanwhile."""

    kind: str
    key_token: str
    method: str
    holds: bool

    @classmethod
    def of(cls, address: Address, method: str, *, holds: bool) -> Call:
        """The call of a method of an actor."""
        return cls(address.kind, encode_token(address.key), method, holds)

    def __str__(self) -> str:
        return f"{self.kind}/{decode_token(self.key_token)}.{self.method}"


def parse(header: str) -> tuple[Call, ...]:
    """The calls of a header's value. Raises ValueError when it is no chain, or longer than MAX_CALLS."""
    texts = header.split(",", MAX_CALLS)
    if len(texts) > MAX_CALLS:
        raise ValueError(f"a chain has at most {MAX_CALLS} calls")
    found = []
    for text in texts:
        match = _CALL.fullmatch(text)
        if match is None:
            raise ValueError(f"{text[:80]!r} is no call of a chain")
        decode_token(match[2])
        found.append(Call(match[1], match[2], match[3], bool(match[4])))
    return tuple(found)


def header_of(calls: Sequence[Call]) -> str:
    """The header's value."""
    return ",".join([f"{kind}.{token}.{method}{'!' if holds else ''}" for kind, token, method, holds in calls])


def shown(calls: Sequence[Call]) -> str:
    """The chain for a person: `a/x.run → b/y.run`."""
    return " → ".join([str(call) for call in calls])


def refusal(calls: Sequence[Call], call: Call) -> str | None:
    """Why `call`, which needs its key to itself, would wait for itself behind this chain; None if it would not."""
    if not any((one.kind, one.key_token) == (call.kind, call.key_token) and one.holds for one in calls):
        return None
    return (
        f"{shown([*calls, call])} would wait for itself: {call.kind}/{decode_token(call.key_token)} is held by one "
        "of these calls, which waits for the last; send it a message instead (tell), or call a shared method"
    )
