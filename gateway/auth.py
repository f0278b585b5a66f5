"""Who asks: what an API key says, and nothing else that a request says about itself."""

from __future__ import annotations

from typing import NamedTuple

from gateway.keys import Keyring
from gateway.responses import AnyRequest, header
from gateway.settings import GatewaySettings
from runtime.errors import CallFailed

LOCAL_HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})


class Caller(NamedTuple):
    """Who asks. Without keys, everybody on this machine is the tenant `default`, and nobody in particular."""

    tenant: str
    principal: str | None = None
    roles: tuple[str, ...] = ()


LOCAL = Caller("default")


class Gate:
    """Lets requests in."""

    def __init__(self, settings: GatewaySettings) -> None:
        """Raises Misconfigured when the keys file cannot be used."""
        self._keyring = Keyring(settings.keys_file) if settings.keys_file is not None else None
        self._hosts = LOCAL_HOSTS | {settings.host}

    def admit(self, request: AnyRequest) -> Caller:
        """Who asks. Raises CallFailed (unauthenticated, forbidden, unavailable)."""
        if self._keyring is None:
            # A web page can have a browser resolve its own name to this machine: such a request names another host.
            host = header(request, b"host") or ""
            name = host if host.endswith("]") else host.rpartition(":")[0] or host
            if name.lower() not in self._hosts:
                raise CallFailed(
                    "forbidden",
                    f"this gateway has no API keys and answers only to local names, not to {host[:80]!r}: use "
                    "127.0.0.1, or configure RUNTIME_API_KEYS_FILE",
                )
            return LOCAL
        key = _key_of(request)
        entry = self._keyring.find(key) if key else None
        if entry is None:
            what = "the API key is not valid" if key else "an API key is missing"
            raise CallFailed("unauthenticated", f"{what}: send 'Authorization: Bearer <key>' or 'X-API-Key: <key>'")
        return Caller(entry.tenant, entry.principal, entry.roles)


def _key_of(request: AnyRequest) -> str:
    authorization = header(request, b"authorization")
    if authorization is None:
        return (header(request, b"x-api-key") or "").strip()
    scheme, _, key = authorization.partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""
