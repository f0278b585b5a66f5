"""Who asks, and which actor sends: believed only when a signature proves it (schemas/signature.py)."""

from __future__ import annotations

import logging
from collections.abc import Callable

from runtime.errors import Misconfigured
from runtime.host.command import Command
from schemas import headers as names
from schemas.address import Address
from schemas.control import parse_sender, sender_of
from schemas.signature import BadSignature, check_secret, is_sender, join_roles, prove_sender, sign, split_roles, verify
from schemas.tokens import Token, is_token

_log = logging.getLogger("troupe.identity")

VOUCHED_UNTIL = 253_402_300_799.0
"""The end of the year 9999: what a pod made itself is not sent, and waits for as long as it does."""


Prove = Callable[[Address, str, str, bytes], dict[str, str]]
"""The headers that prove which actor sends a message, of its sender, subject, id and body."""


class Identity:
    """Checks signatures with the key that gateways and pods share; without a key no principal is believed.

    `secret` is the log's own, of its pods alone.
    """

    def __init__(self, signing_key: str | None, secret: bytes) -> None:
        self._own = secret
        try:
            self._secret = None if signing_key is None else check_secret(signing_key)
        except ValueError as error:
            raise Misconfigured(f"RUNTIME_SIGNING_KEY: {error}") from error

    def prove(self, sender: Address, subject: str, id: str, body: bytes) -> dict[str, str]:
        """See Prove."""
        name = sender_of(sender)
        return {
            names.SENDER: name,
            names.SENDER_PROOF: prove_sender(self._own, subject=subject, id=id, body=body, sender=name),
        }

    def is_token(self, token: Token) -> bool:
        """Whether a pod of this log made the token."""
        return is_token(self._own, token)

    def vouch(self, subject: str, id: str, body: bytes, principal: str, roles: tuple[str, ...]) -> dict[str, str]:
        """The headers by which a command that a pod makes itself has the principal, proved, of one that led to it."""
        joined = join_roles(roles)
        signature = sign(
            self._own, subject=subject, id=id, body=body, principal=principal, expires_at=VOUCHED_UNTIL, roles=joined
        )
        given = {names.PRINCIPAL: principal, names.ROLES: joined, names.SIGNATURE: signature}
        return {name: value for name, value in given.items() if value}

    def hand_on(
        self, subject: str, id: str, body: bytes, principal: str | None, roles: tuple[str, ...]
    ) -> dict[str, str]:
        """The same for what a handler sends or asks, which has its caller's principal and rights: none for nobody."""
        return {} if principal is None else self.vouch(subject, id, body, principal, roles)

    def principal_of(self, command: Command) -> str | None:
        """The command's principal when it is proved, else None; with it `command.roles` are set, and its sender."""
        if names.SENDER in command.headers:
            command.sender = self._sender_of(command)
        if self._secret is None:
            return None  # nor did a pod vouch for anybody
        principal = command.headers.get(names.PRINCIPAL)
        signature, roles = command.headers.get(names.SIGNATURE), command.headers.get(names.ROLES, "")
        if principal is None or signature is None:
            return None
        subject = _subject(command)
        stored_at = command.stream_at / 1e9
        secrets = (self._secret, self._own)
        for secret in secrets:
            try:
                verify(
                    secret, signature, subject=subject, id=command.id, body=command.body, principal=principal,
                    now=stored_at, roles=roles,
                )  # fmt: skip
            except BadSignature as error:
                problem = error
            else:
                command.roles = split_roles(roles)
                return principal
        _log.warning("%s claims to be from %r: %s", command, principal, problem)
        return None

    def _sender_of(self, command: Command) -> Address | None:
        sender, proof = command.headers[names.SENDER], command.headers.get(names.SENDER_PROOF, "")
        subject = _subject(command)
        if not is_sender(self._own, proof, subject=subject, id=command.id, body=command.body, sender=sender):
            _log.warning("%s claims to be sent by the actor %r, and does not prove it", command, sender[:200])
            return None
        return parse_sender(command.address.tenant, sender)


def _subject(command: Command) -> str:
    tenant, kind, _ = command.address
    return f"cmd.{tenant}.{kind}.{command.key_token}.{command.method}"
