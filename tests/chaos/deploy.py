"""Pinned versions that are started, promoted and take over while load and faults go on."""

from __future__ import annotations

import asyncio
import time

from runtime.client import Client
from runtime.errors import TroupeError
from schemas.subjects import CMD_STREAM
from tests.chaos.world import World

PATIENCE_S = 60.0
PODS = 2
"""Of a new version, until it is promoted."""


class Deploy:
    """Deploys the next version, some times, evenly over the run. `told` is what happened, as lines."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.told: list[str] = []
        self.trouble: list[str] = []

    async def run(self) -> None:
        """Returns when the last version has taken over, and the pods of the one before are gone."""
        settings = self._world.settings
        if "restore" in settings.faults:
            self.told.append("no version is promoted: a restored backup would take that back")
            return
        every_s = settings.seconds / (settings.promotions + 1)
        begun = time.monotonic()
        for number in range(1, settings.promotions + 1):
            await asyncio.sleep(max(0.0, begun + every_s * number - time.monotonic()))
            await self._deploy(f"v{number + 1}")

    async def _deploy(self, version: str) -> None:
        world, begun = self._world, time.monotonic()
        former = world.group
        await asyncio.gather(*[world.start_pod(version) for _ in range(PODS)])
        if not await self._promote(version):
            self.trouble.append(f"{version} was not promoted within {PATIENCE_S:g} s")
            return
        world.group = version
        took_s = time.monotonic() - begun
        for pod in [pod for pod in world.pods if pod.name.startswith(f"{former}-")]:
            if pod in world.up and (code := await world.terminate_pod(pod)) != 0:
                self.trouble.append(f"pod {pod.name} ended with exit code {code} after SIGTERM, and not with 0")
            if len(world.running()) < world.settings.pods:
                await world.start_pod()
        self.told.append(f"{version} was started, promoted and took over from {former} after {took_s:.1f} s")

    async def _promote(self, version: str) -> bool:
        world, end = self._world, time.monotonic() + PATIENCE_S
        async with await Client.connect(world.system.nats_url, connect_timeout_s=PATIENCE_S) as client:
            while time.monotonic() < end:
                try:
                    for group in self._groups(version):
                        await client.service("promote", {"group": group}, timeout_s=10)
                    return True
                except TroupeError:  # its pods do not own their lanes yet, or a server is away
                    if not any(pod.name.startswith(f"{version}-") for pod in world.running()):
                        await world.start_pod(version)
                    await asyncio.sleep(0.3)
        return False

    def _groups(self, version: str) -> list[str]:
        """The groups of a version: one for each stream of commands."""
        streams = self._world.stage.streams
        return [version, *[f"{version}-{stream}" for stream in streams if stream != CMD_STREAM]]
