"""One pod as a process: `python -m runtime.host.process MODULE…`, configured by the environment.

Prints one line of JSON when it is up ({"pod": …, "pid": …}, and the URL of its "metrics" if they are served), ends in
order on SIGTERM or SIGINT with exit code 0, with 2 when it is misconfigured, and with 1 when it cannot go on. With
RUNTIME_PRINT_METER=1 its last line on stderr is what it counted, as JSON.
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
from runtime.errors import Misconfigured, NotConnected, TroupeError
from runtime.garbage import collect_rarely
from runtime.host.pod import Pod
from runtime.host.ports import LogUnavailable
from runtime.host.settings import PodSettings, from_environment
from runtime.kind import Kind
from runtime.modules import load_kinds
from runtime.telemetry import logs

if TYPE_CHECKING:
    from runtime.telemetry.pod import PodTelemetry

_log = logging.getLogger("troupe.pod")

START_RETRY_S = 0.5


async def serve(settings: PodSettings, kinds: Sequence[Kind], telemetry: PodTelemetry | None = None) -> int:
    """Runs a pod until a signal ends it; gives the exit code. Waits for servers that cannot be reached yet."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    while True:
        pod = Pod(settings, kinds, telemetry=telemetry)
        try:
            await pod.start()
            break
        except (NotConnected, LogUnavailable) as error:
            _log.warning("the pod cannot start yet: %s", error)
            try:
                async with asyncio.timeout(START_RETRY_S):
                    await stop.wait()
                return 0
            except TimeoutError:
                continue
    up = {"pod": pod.id, "pid": os.getpid()}
    if telemetry is not None and (url := await telemetry.open(pod)):
        up["metrics"] = url
    print(json.dumps(up), flush=True)
    ends = [asyncio.ensure_future(stop.wait()), asyncio.ensure_future(pod.failed.wait())]
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    if pod.failed.is_set():
        return 1
    await pod.stop()
    if telemetry is not None:
        await telemetry.close()
    if os.environ.get("RUNTIME_PRINT_METER") == "1":
        counted = pod.meter.as_dict() | {"passivated": pod.activations.passivated}
        print(json.dumps(counted), file=sys.stderr, flush=True)
    return 0


def main(modules: Sequence[str]) -> int:
    """Loads the modules and serves their kinds."""
    try:
        logs.configure()
        settings = from_environment()
        kinds = load_kinds(modules)
        telemetry = _telemetry()
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


def _telemetry() -> PodTelemetry | None:
    found = telemetries.from_environment("troupe-pod")
    if found is None:
        return None
    from runtime.telemetry.pod import PodTelemetry

    return PodTelemetry(found)


if __name__ == "__main__":
    code = main(sys.argv[1:])
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    # A handler that never returned is left behind in a daemon thread; the interpreter's own end would abort if that
    # thread held the lock of stderr just then.
    os._exit(code)
