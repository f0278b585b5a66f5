"""Chaos: real processes are killed, frozen and replaced while a seeded load runs, and everything is counted.

__main__.py    python -m tests.chaos --seconds 60 --seed 1
settings.py    what one run is
run.py         one run, from the servers to the verdict
world.py       pods and gateways on a stage
stage/         the servers, and what can be done to them
faults/        which faults, in which order
allowances.py  what each of them may do to the promises
load.py        the load, a process of its own; raw.py is its share in plain nats-py
record.py      what the load writes down of each command
watch.py       the order in which the broker stored the commands
log.py         what a run left in Postgres
verify.py      log and record compared
report.py      the verdict, and the journal of an actor when it is bad
"""
