"""One pod as a process: `python -m runtime.host.process MODULE…`, configured by the environment.

Prints one line of JSON when it is up ({"pod": …, "pid": …}), ends in order on SIGTERM or SIGINT with exit code 0, with
2 when it is misconfigured, and with 1 when it cannot go on. With RUNTIME_PRINT_METER=1 its last line on stderr is what
it counted, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Sequence

from runtime.errors import Misconfigured, NotConnected, TroupeError
from runtime.host.pod import Pod
from runtime.host.ports import LogUnavailable
from runtime.host.settings import PodSettings, from_environment
from runtime.kind import Kind
from runtime.modules import load_kinds

_log = logging.getLogger("troupe.pod")

START_RETRY_S = 0.5


async def serve(settings: PodSettings, kinds: Sequence[Kind]) -> int:
    """Runs a pod until a signal ends it; gives the exit code. Waits for servers that cannot be reached yet."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    while True:
        pod = Pod(settings, kinds)
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
    print(json.dumps({"pod": pod.id, "pid": os.getpid()}), flush=True)
    ends = [asyncio.ensure_future(stop.wait()), asyncio.ensure_future(pod.failed.wait())]
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    if pod.failed.is_set():
        return 1
    await pod.stop()
    if os.environ.get("RUNTIME_PRINT_METER") == "1":
        print(json.dumps(pod.meter.as_dict()), file=sys.stderr, flush=True)
    return 0


def main(modules: Sequence[str]) -> int:
    """Loads the modules and serves their kinds."""
    try:
        settings = from_environment()
        kinds = load_kinds(modules)
    except Misconfigured as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    import uvloop  # only a process that runs a pod needs it

    try:
        return uvloop.run(serve(settings, kinds))
    except Misconfigured as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except TroupeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    logging.basicConfig(
        level=os.environ.get("RUNTIME_LOG_LEVEL", "WARNING"), format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    code = main(sys.argv[1:])
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    # A handler that never returned is left behind in a daemon thread; the interpreter's own end would abort if that
    # thread held the lock of stderr just then.
    os._exit(code)
