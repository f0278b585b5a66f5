"""Who asks: believed only when a signature proves it (schemas/signature.py)."""

from __future__ import annotations

import logging

from runtime.errors import Misconfigured
from runtime.host.command import Command
from schemas import headers as names
from schemas.signature import BadSignature, check_secret, split_roles, verify

_log = logging.getLogger("troupe.identity")


class Identity:
    """Checks signatures with the key that gateways and pods share; without a key nobody is believed."""

    def __init__(self, signing_key: str | None) -> None:
        try:
            self._secret = None if signing_key is None else check_secret(signing_key)
        except ValueError as error:
            raise Misconfigured(f"RUNTIME_SIGNING_KEY: {error}") from error

    def principal_of(self, command: Command) -> str | None:
        """The command's principal when it is proved, else None; with it `command.roles` are set."""
        if self._secret is None:
            return None
        principal = command.headers.get(names.PRINCIPAL)
        signature, roles = command.headers.get(names.SIGNATURE), command.headers.get(names.ROLES, "")
        if principal is None or signature is None:
            return None
        address = command.address
        subject = f"cmd.{address.tenant}.{address.kind}.{command.key_token}.{command.method}"
        stored_at = command.stream_at / 1e9
        try:
            verify(
                self._secret, signature, subject=subject, id=command.id, body=command.body, principal=principal,
                now=stored_at, roles=roles,
            )  # fmt: skip
        except BadSignature as error:
            _log.warning("%s claims to be from %r: %s", command, principal, error)
            return None
        command.roles = split_roles(roles)
        return principal
