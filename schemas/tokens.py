"""Tokens: what a step hands out, so that whoever has one can complete or fail it from outside.

A token is base64url without padding of the MessagePack list [tenant, kind, key, run, label, proof]: it holds all that
is needed to find the step again, so nobody keeps a table of them. The proof is made by a pod, under a secret of the
log's own: who has none cannot make one. It is used once: the command that completes it has the id `token-<proof>`.
"""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from schemas.address import Address, BadAddress, check_name, encode_token
from schemas.headers import is_id

SIGNAL_PREFIX = "$token "
"""Begins the names of the signals by which runs hear of their tokens; nobody else may send such."""


class BadToken(ValueError):
    """This is not a token."""


class Token(NamedTuple):
    """What a token holds: the actor, its run (a command's id), which of the run's tokens it is, and the proof."""

    tenant: str
    kind: str
    key: str
    run: str
    label: str
    proof: str

    @property
    def address(self) -> Address:
        """The actor."""
        return Address(self.tenant, self.kind, self.key)

    @property
    def command_id(self) -> str:
        """The id of the command that uses it."""
        return f"token-{self.proof}"

    def __str__(self) -> str:
        return urlsafe_b64encode(msgspec.msgpack.encode(tuple(self))).rstrip(b"=").decode()


_decode = msgspec.msgpack.Decoder(list[str]).decode


def new_token(secret: bytes, address: Address, run: str, label: str) -> Token:
    """The token of a step of a run. `secret` are the log's own bytes, at most 64."""
    return Token(*address, run, label, _proof(secret, address, run, label))


def parse_token(text: str) -> Token:
    """What `text` holds. Raises BadToken when no token has this form."""
    try:
        raw = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        token = Token(*_decode(raw))
        check_name(token.tenant, "tenant")
        check_name(token.kind, "kind")
        encode_token(token.key)
    except (UnicodeEncodeError, binascii.Error, msgspec.DecodeError, BadAddress, TypeError) as error:
        raise BadToken(f"{text[:80]!r} is not a token: use the one that the step was given") from error
    if not (is_id(token.run) and is_id(token.command_id)) or str(token) != text:
        raise BadToken(f"{text[:80]!r} is not a token: use the one that the step was given")
    return token


def is_token(secret: bytes, token: Token) -> bool:
    """Whether a pod that knows `secret` made it."""
    return token.proof == _proof(secret, token.address, token.run, token.label)


def _proof(secret: bytes, address: Address, run: str, label: str) -> str:
    text = "\n".join(("token", address.tenant, address.kind, encode_token(address.key), run, label))
    return blake2b(text.encode(), key=secret, digest_size=16).hexdigest()
