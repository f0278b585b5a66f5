"""Which kinds exist: asked of a pod, so that a misspelled name is an error instead of a long silence."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from runtime.client.calls import Calls
from runtime.errors import CallFailed, TroupeError
from schemas.wire import Capability

_log = logging.getLogger("troupe.client")


class Kinds:
    """Looks kinds up. `capabilities` asks a pod."""

    def __init__(self, capabilities: Callable[[], Awaitable[list[Capability]]]) -> None:
        self._capabilities = capabilities
        self._checks: dict[str, asyncio.Task[None]] = {}

    async def check(self, kind: str) -> None:
        """Raises CallFailed (unknown_kind) when pods answer and say that nothing of this name exists."""
        known = await self._capabilities()
        if all(capability.kind != kind for capability in known):
            raise CallFailed("unknown_kind", f"no pod serves the kind {kind!r}: check its name, or start a pod with it")

    def check_silent(self, calls: Calls, subject: str) -> None:
        """Fails the calls to the kind of a command's subject, which nobody answered yet, if it does not exist."""
        tenant, kind = subject.split(".")[1:3]
        if kind not in self._checks:
            self._checks[kind] = asyncio.ensure_future(self._fail_unknown(calls, tenant, kind))

    def close(self) -> None:
        """Ends the checks under way."""
        for check in self._checks.values():
            check.cancel()

    async def _fail_unknown(self, calls: Calls, tenant: str, kind: str) -> None:
        try:
            await self.check(kind)
        except CallFailed as error:
            if error.code == "unknown_kind":
                calls.fail_kind(f"cmd.{tenant}.{kind}.", lambda id: _stored(kind, id))
        except TroupeError:
            _log.debug("whether kind %r exists is not known now", kind, exc_info=True)
        finally:
            self._checks.pop(kind, None)


def _stored(kind: str, id: str) -> CallFailed:
    return CallFailed(
        "unknown_kind",
        f"no pod serves the kind {kind!r}: check its name, or start a pod with it, which then processes command {id!r}",
        details={"id": id},
    )
