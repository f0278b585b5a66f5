"""The benchmark: the real system on servers of its own, with full durability, and every figure counted in Postgres.

__main__.py     python -m tests.bench [--seconds N] [--only name,...]
stage.py        servers, pods and gateway of a measurement; kinds.py what they run
messaging.py    commands through NATS             http.py        POST /intent
activation.py   actors coming into memory, and what they take there
replaying.py    a log becoming a state            recovery.py    a pod's death
stepping.py     workflows: many, alone, asleep, killed, replayed; runs.py starts them
rate.py         one load against a scene, checked against the log; callers.py its processes
tally.py        what every process of load does; load.py calls over NATS, intents.py over HTTP
processor.py    processor time and memory of processes, from /proc
figures.py      flat names to numbers             report.py      the table and its targets
"""
