"""Free ports on loopback, outside the range that the system hands to outgoing connections.

Inside that range a client that keeps trying to reconnect to a server that is down can be given the server's own port,
connect to itself, and keep the server from ever coming back.
"""

import random
import socket
from collections.abc import Container
from pathlib import Path

from runtime.infra.errors import ServerFailed

_LOWEST, _HIGHEST = 15_000, 31_999
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_ATTEMPTS = 200


def free_port(avoid: Container[int] = ()) -> int:
    """A port of 127.0.0.1, not in `avoid`, that nobody listens on now. Raises ServerFailed if none is found."""
    lowest, highest = _range()
    for _ in range(_ATTEMPTS):
        port = random.SystemRandom().randint(lowest, highest)
        if port not in avoid and is_free(port):
            return port
    raise ServerFailed(f"no free port found on 127.0.0.1 between {lowest} and {highest} in {_ATTEMPTS} attempts")


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of 127.0.0.1 now."""
    with socket.socket() as probe:
        # As the servers do: a port whose old connections only wait to be forgotten is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _range() -> tuple[int, int]:
    """The usual range, or where the system's own covers it, the room below that."""
    if not _EPHEMERAL.exists():
        return _LOWEST, _HIGHEST
    first = int(_EPHEMERAL.read_text().split()[0])
    highest = min(_HIGHEST, first - 1)
    return (_LOWEST, highest) if highest - _LOWEST > _ATTEMPTS else (2_000, max(highest, 4_000))
