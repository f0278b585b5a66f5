"""How much of a tenant may wait, and saying how much does: clients and gateways refuse what comes on top of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import msgspec

from runtime.errors import Misconfigured
from schemas.address import BadAddress, check_name
from schemas.backlog import SAID_EVERY_S, Backlog
from schemas.subjects import backlog

_encode = msgspec.json.Encoder().encode


class Quotas:
    """The most commands of a tenant that may wait: `100000 acme=5000 umbrella=0`; 0, or nothing, for any number.

    Raises Misconfigured.
    """

    def __init__(self, text: str) -> None:
        self._usual = 0
        self._own: dict[str, int] = {}
        for word in text.split():
            tenant, equals, number = word.rpartition("=")
            try:
                if not number.isascii() or not number.isdigit():
                    raise ValueError(f"{number!r} is not a number of commands")
                if equals:
                    self._own[check_name(tenant, "tenant")] = int(number)
                else:
                    self._usual = int(number)
            except (ValueError, BadAddress) as error:
                raise Misconfigured(
                    f"RUNTIME_TENANT_BACKLOG={text!r}: {error}; write a number for all, and TENANT=NUMBER for some"
                ) from error

    def of(self, tenant: str) -> int:
        """The most of one tenant; 0 for any number."""
        return self._own.get(tenant, self._usual)


class Backlogs:
    """Says each second, for the tenants that a pod reads apart, how much of them waits here.

    Args:
        waiting: gives it, by tenant.
        post: publishes.
    """

    def __init__(
        self, pod: str, quotas: Quotas, waiting: Callable[[], Mapping[str, int]], post: Callable[[str, bytes], None]
    ) -> None:
        self._pod = pod
        self._quotas = quotas
        self._waiting = waiting
        self._post = post
        self._said: set[str] = set()

    async def run(self) -> None:
        """Says it, for ever."""
        while True:
            await asyncio.sleep(SAID_EVERY_S)
            self.say()

    def say(self) -> None:
        """Says it once; of who is read with the others again, that nothing waits."""
        found = self._waiting()
        for tenant in sorted({*found, *self._said}):
            word = Backlog(tenant, self._pod, found.get(tenant, 0), self._quotas.of(tenant))
            self._post(backlog(tenant), _encode(word))
        self._said = set(found)
