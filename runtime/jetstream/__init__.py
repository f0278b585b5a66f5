"""The adapters to JetStream.

    streams.py   the streams CMD, INTENT and EV: created, and checked at every start
    reader.py    a lane's pull consumer: contiguous, resumable at any sequence
    publisher.py publishing with the broker's acknowledgement, in order
    command_stream.py  stream CMD as a whole, for its upkeep
"""
