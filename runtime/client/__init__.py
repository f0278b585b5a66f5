"""What any process needs to speak to actors through NATS: callers, the gateway, the CLI, and pods among themselves.

    connection.py   one connection to NATS, with fast receive and send paths
    inbox.py        what comes back to one client: replies, acknowledgements, answers
    timers.py       many coarse timers on one timer of the event loop
    calls.py        commands in flight: sent, sent again, answered or given up
    store.py        publishing that the broker acknowledges
    objects.py      bodies too large for a message
    runs.py         a submitted command that may be taken up again anywhere
    ordered.py      reading a stream in order, from a sequence, with bounded memory
    sessions.py     the facts of one session
    tail.py         the events of one actor, as they are committed
    client.py       the Client, which brings these together

Imports schemas, nats, and of the runtime only errors, clock and what turns a value into a body.
"""

from runtime.client.client import Client
from runtime.client.connection import Connection, connect

__all__ = ["Client", "Connection", "connect"]
