"""What any process needs to speak to actors through NATS: callers, the gateway, the CLI, and pods among themselves.

    connection.py   one connection to NATS, with fast receive and send paths
    inbox.py        what comes back to one client: replies, acknowledgements, answers
    timers.py       many coarse timers on one timer of the event loop
    calls.py        commands in flight: sent, sent again, answered or given up
    envelope.py     what a command carries beside its address and arguments
    kinds.py        which kinds exist, so that a misspelled name is an error instead of a silence
    services.py     requests that pods answer at once: services and queries
    acknowledgement.py   what the broker says to a message it was asked to store
    failures.py     failures on the wire become exceptions
    store.py        publishing that the broker acknowledges
    large.py        replies too large for a message
    objects.py      bodies too large for a message
    completing.py   steps that handed out tokens, completed from outside
    starting.py     a workflow's run, begun with a signal if none goes on
    runs.py         a submitted command that may be taken up again anywhere
    values.py       what a generator's run yields
    schedules.py    what starts commands again and again
    forking.py      a run begun anew where another one was
    listing.py      runs listed, and one with its timeline
    ordered.py      reading a stream in order, from a sequence, with bounded memory
    feed.py         one such cursor for all who watch sessions in one process
    stored.py       what a stream holds, and pages of one subject's messages
    tail.py         the events of one actor, as they are committed
    unhurried.py    nats-py without what it imports for WebSockets
    tracing.py      where telemetry takes part, if there is any
    client.py       the Client, which brings these together

Imports schemas, nats, and of the runtime only errors, clock and what turns a value into a body.
"""

from runtime.client import unhurried  # noqa: F401  # before any other that imports nats
from runtime.client.client import Client
from runtime.client.connection import Connection, connect
from runtime.client.envelope import Envelope
from runtime.client.runs import Run
from runtime.client.stored import StreamReset

__all__ = ["Client", "Connection", "Envelope", "Run", "StreamReset", "connect"]
