"""Signatures that prove who asks: made by the gateway or a pod, checked by the pod that processes the command.

A stored message does not show who published it. `Troupe-Signature` therefore covers the subject it was published to,
the command's id, the digest of its body (of the body itself, also when that lies in the object store), the principal,
its roles and an expiry, with HMAC-SHA256 (RFC 2104) under a secret that publishers without a gateway do not have:

    Troupe-Signature: v1.<expiry, Unix seconds>.<base64url of the MAC, without padding>

One that covers roles begins with v2.

An unsigned message has its tenant and nothing more.

What an actor sends carries in addition a proof of that actor, `Troupe-Sender-Proof`: a keyed BLAKE2b of subject, id,
body and sender, under a secret of the log's own that only pods know. It has no expiry, since what waits in an outbox
may wait for long; a message that is said again does nothing, having the same id.
"""

from __future__ import annotations

import hmac
import re
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from hashlib import blake2b

MIN_SECRET_BYTES = 32
_WITHOUT_ROLES, _WITH_ROLES = "v1", "v2"
_ROLE = re.compile(r"[A-Za-z0-9_.:/-]{1,100}\Z")


class BadSignature(ValueError):
    """The signature is not valid for this message; the message says what is wrong with it."""


def check_secret(secret: str) -> bytes:
    """The bytes of a secret as configured. Raises ValueError when it is too short to resist guessing."""
    encoded = secret.encode()
    if len(encoded) < MIN_SECRET_BYTES:
        raise ValueError(
            f"the signing key has {len(encoded)} bytes and needs at least {MIN_SECRET_BYTES}: make one with "
            "python -c 'import secrets; print(secrets.token_urlsafe(32))'"
        )
    return encoded


def join_roles(roles: Iterable[str]) -> str:
    """The value of Troupe-Roles. Raises ValueError for a role that is no word."""
    found = sorted(set(roles))
    for role in found:
        if not _ROLE.match(role):
            raise ValueError(f"a role is 1 to 100 letters, digits and . : / _ -, which {role[:80]!r} is not")
    return ",".join(found)


def split_roles(roles: str) -> tuple[str, ...]:
    """The roles in a Troupe-Roles."""
    return tuple(roles.split(",")) if roles else ()


def sign(
    secret: bytes, *, subject: str, id: str, body: bytes, principal: str, expires_at: float, roles: str = ""
) -> str:
    """The value of Troupe-Signature. `expires_at` is in Unix seconds, `roles` the value of Troupe-Roles."""
    expiry = str(int(expires_at))
    version = _WITH_ROLES if roles else _WITHOUT_ROLES
    return f"{version}.{expiry}.{_mac(secret, subject, id, body, principal, expiry, roles)}"


def verify(
    secret: bytes, signature: str, *, subject: str, id: str, body: bytes, principal: str, now: float, roles: str = ""
) -> None:
    """Returns when `signature` was made with `secret` for exactly this message and is not over; else BadSignature.

    A command is published once and may be processed much later: compare `now` with when the broker stored it.
    """
    version, _, rest = signature.partition(".")
    expiry, _, mac = rest.partition(".")
    if version != (_WITH_ROLES if roles else _WITHOUT_ROLES) or not expiry.isascii() or not expiry.isdigit():
        forms = f"{_WITHOUT_ROLES}.<expiry>.<mac>, or beside roles {_WITH_ROLES}.<expiry>.<mac>"
        raise BadSignature(f"the signature does not have the form {forms}")
    if not all(map(_ROLE.match, split_roles(roles))):
        raise BadSignature("the roles are no words joined by commas")
    expected = _mac(secret, subject, id, body, principal, expiry, roles)
    if not hmac.compare_digest(mac.encode("utf-8", "surrogateescape"), expected.encode()):
        raise BadSignature("the signature does not fit the message: another key, or the message was changed")
    if int(expiry) < now:
        raise BadSignature(f"the signature was valid until Unix time {expiry}")


def prove_sender(secret: bytes, *, subject: str, id: str, body: bytes, sender: str) -> str:
    """The value of Troupe-Sender-Proof for a `Troupe-Sender`. `secret` are the log's own 32 to 64 bytes."""
    return blake2b(f"{subject}\n{id}\n{sender}\n".encode() + body, key=secret, digest_size=16).hexdigest()


def is_sender(secret: bytes, proof: str, *, subject: str, id: str, body: bytes, sender: str) -> bool:
    """Whether a pod that knows `secret` made this proof for exactly this message."""
    expected = prove_sender(secret, subject=subject, id=id, body=body, sender=sender)
    return hmac.compare_digest(proof.encode("utf-8", "surrogateescape"), expected.encode())


def _mac(secret: bytes, subject: str, id: str, body: bytes, principal: str, expiry: str, roles: str) -> str:
    digest = blake2b(body, digest_size=32).hexdigest()
    begin = f"{_WITH_ROLES}\n{roles}" if roles else _WITHOUT_ROLES
    # Only the principal, which comes last, can hold a line break: no two messages give the same text.
    text = f"{begin}\n{subject}\n{id}\n{digest}\n{expiry}\n{principal}"
    mac = hmac.digest(secret, text.encode("utf-8", "surrogatepass"), "sha256")
    return urlsafe_b64encode(mac).rstrip(b"=").decode()
