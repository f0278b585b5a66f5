"""The adapters to JetStream.

    streams.py   the streams CMD, INTENT and EV: created, and checked at every start
    reader.py    a lane's pull consumer: contiguous, resumable at any sequence
    outbox.py    publishing with the broker's acknowledgement, in order
"""
