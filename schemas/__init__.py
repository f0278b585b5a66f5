"""The wire and the log: what Troupe's processes say to each other and keep.

    address.py    who an actor is: tenant, kind, key; how they become subject tokens, a partition and an id
    subjects.py   the NATS subjects and stream names, built and parsed in one place
    headers.py    the header names of a command, and their limits
    codec.py      JSON and MessagePack bodies by content type
    errors.py     the codes a caller may see, each with its HTTP status
    wire.py       the Structs: Reply, Failure, Fact, Intent, Capability, ...
    shown.py      what runs of agents show on a session's stream while they go on

Imports nothing of ours, so that a client, a gateway and a pod can share it.
"""
