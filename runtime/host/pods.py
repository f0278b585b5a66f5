"""The pods of one process: one for each place that its kinds need (runtime.host.places), each on its own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from runtime.errors import NotConnected, ServedElsewhere
from runtime.host.assembly import Servers
from runtime.host.observer import Observer
from runtime.host.places import Place, split
from runtime.host.pod import Pod
from runtime.host.ports import LogUnavailable
from runtime.host.settings import PodSettings
from runtime.kind import Kind, with_companions

_log = logging.getLogger("troupe.pod")

START_RETRY_S = 0.5


class Pods:
    """`await start()`, then `await stop()`.

    Args:
        observe: gives who watches the batches of a pod; called once for each place.

    Raises Misconfigured when the settings are no map.
    """

    def __init__(
        self, settings: PodSettings, kinds: Sequence[Kind], observe: Callable[[], Observer | None] = lambda: None
    ) -> None:
        self._own = frozenset(kind.name for kind in kinds)
        self._works = split(settings, with_companions(kinds))
        self._observe = observe
        self._watches: list[asyncio.Task[None]] = []
        self._ending = False
        self.running: list[Pod] = []
        self.failed = asyncio.Event()
        """Set when one of the pods cannot go on."""

    async def start(self, stop: asyncio.Event, started: Callable[[Pod], object] = lambda pod: None) -> bool:
        """Starts them side by side; a server that cannot be reached yet keeps only its own pod waiting.

        `started` is called with each as it begins to work. Gives False when `stop` was set before all did. Raises
        Misconfigured, with none left working.
        """
        starting = [asyncio.ensure_future(self._start(stop, started, *work)) for work in self._works]
        try:
            return all(await asyncio.gather(*starting))
        except BaseException:
            # They end what they are at: a connection that is given up while it is made stays open for a while.
            self._ending = True
            await asyncio.gather(*starting, return_exceptions=True)
            await self.stop()
            raise

    async def stop(self) -> None:
        """Hands over what they have, all at once, and ends them."""
        for watch in self._watches:
            watch.cancel()
        await asyncio.gather(*self._watches, return_exceptions=True)
        await asyncio.gather(*[pod.stop() for pod in self.running])

    async def _start(
        self,
        stop: asyncio.Event,
        started: Callable[[Pod], object],
        place: Place,
        settings: PodSettings,
        kinds: Sequence[Kind],
    ) -> bool:
        observer = self._observe()
        assembly = self._assembly(settings, place, kinds)
        while not (stop.is_set() or self._ending):
            pod = Pod(settings, kinds, telemetry=observer, assembly=assembly)
            try:
                await pod.start()
            except ServedElsewhere as error:
                rest = [kind for kind in kinds if kind.name not in error.kinds]
                if error.kinds & self._own or len(rest) in (0, len(kinds)):
                    raise
                _log.info("left to the group that serves them already: %s", ", ".join(sorted(error.kinds)))
                kinds = rest
                assembly = self._assembly(settings, place, kinds)
                continue
            except (NotConnected, LogUnavailable) as error:
                _log.warning("the pod cannot start yet: %s", error)
                try:
                    async with asyncio.timeout(START_RETRY_S):
                        await stop.wait()
                except TimeoutError:
                    pass
                continue
            self.running.append(pod)
            self._watches.append(asyncio.ensure_future(self._watch(pod)))
            started(pod)
            return True
        return False

    def _assembly(self, settings: PodSettings, place: Place, kinds: Sequence[Kind]) -> Servers:
        names = [kind.name for kind in kinds]
        return Servers(settings, place, names, frozenset(names) - self._own)

    async def _watch(self, pod: Pod) -> None:
        await pod.failed.wait()
        self.failed.set()
