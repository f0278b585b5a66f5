"""One pod as a process: `python -m runtime.host.process MODULE…`, configured by the environment.

Prints one line of JSON when it is up ({"pod": …, "pid": …}, and the URL of its "metrics" if they are served), ends in
order on SIGTERM or SIGINT with exit code 0, with 2 when it is misconfigured, and with 1 when it cannot go on. With
RUNTIME_PRINT_METER=1 its last line on stderr is what it counted, as JSON (a line for each place: runtime.host.places).
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from runtime import telemetry as telemetries
from runtime.errors import Misconfigured, TroupeError
from runtime.garbage import collect_rarely
from runtime.host.pods import Pods
from runtime.host.settings import PodSettings, from_environment
from runtime.kind import Kind
from runtime.modules import load_kinds
from runtime.telemetry import Telemetry, logs

if TYPE_CHECKING:
    from runtime.telemetry.pod import PodTelemetry


async def serve(settings: PodSettings, kinds: Sequence[Kind], telemetry: Telemetry | None = None) -> int:
    """Runs the pods of a process, one for each place (runtime.host.places), until a signal ends them.

    Gives the exit code. Waits for servers that cannot be reached yet; the pods of others work meanwhile.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    watchers: list[PodTelemetry] = []

    def observe() -> PodTelemetry | None:
        if telemetry is not None:
            from runtime.telemetry.pod import PodTelemetry

            watchers.append(PodTelemetry(telemetry))
        return watchers[-1] if watchers else None

    pods = Pods(settings, kinds, observe)
    failed = asyncio.ensure_future(pods.failed.wait())
    starting = asyncio.ensure_future(pods.start(stop))
    await asyncio.wait([starting, failed], return_when=asyncio.FIRST_COMPLETED)
    if starting.done() and starting.result():
        up = {"pod": pods.running[0].id, "pid": os.getpid()}
        urls = [await watcher.open(pod) for pod in pods.running for watcher in watchers if pod.telemetry is watcher]
        if any(urls):
            up["metrics"] = urls[0]
        print(json.dumps(up), flush=True)
    await asyncio.wait([asyncio.ensure_future(stop.wait()), failed], return_when=asyncio.FIRST_COMPLETED)
    if failed.done():
        return 1
    await starting
    await pods.stop()
    for watcher in watchers:
        await watcher.close()
    if telemetry is not None:
        await telemetry.close()
    if os.environ.get("RUNTIME_PRINT_METER") == "1":
        for pod in pods.running:
            counted = pod.meter.as_dict() | {"passivated": pod.activations.passivated}
            print(json.dumps(counted), file=sys.stderr, flush=True)
    return 0


def main(modules: Sequence[str]) -> int:
    """Loads the modules and serves their kinds."""
    try:
        logs.configure()
        settings = from_environment()
        kinds = load_kinds(modules)
        telemetry = telemetries.from_environment("troupe-pod")
    except Misconfigured as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    import uvloop  # only a process that runs a pod needs it

    collect_rarely()
    try:
        return uvloop.run(serve(settings, kinds, telemetry))
    except Misconfigured as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except TroupeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    code = main(sys.argv[1:])
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    # A handler that never returned is left behind in a daemon thread; the interpreter's own end would abort if that
    # thread held the lock of stderr just then.
    os._exit(code)
