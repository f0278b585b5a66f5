"""The benchmark: the real system on servers of its own, with full durability, and every figure counted in Postgres.

__main__.py    python -m tests.bench [--seconds N] [--only name,...]
stage.py       servers, pods and gateway of one measurement
load.py        a process that calls actors over NATS; intents.py one that posts intents over HTTP
processor.py   processor time and memory of processes, from /proc
messaging.py, http.py, memory.py, recovery.py, replaying.py   the measurements
report.py      bench.json and the table
"""
