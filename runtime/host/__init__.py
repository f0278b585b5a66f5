"""The host: what a pod does with the messages of its lanes.

    pod.py           wires everything; the only place that knows adapters
    leases.py        membership, taking and handing over lanes; balance.py says who should own which
    command.py       a command, from the stream, a timer or a pending row; items.py: everything a batch is made of
    committer.py     the commit pipeline; ports.py: what it needs of a log
    turns.py         what each item does to its actor, written into a plan.py
    aftermath.py     what follows a commit
    turn_thread.py   where handlers run; executions.py: those that may wait
    reads.py         queries, answered from committed state; services.py and front.py: what any pod answers
    timers.py, outbox.py, loading.py, housekeeping.py, residence.py, watchdog.py
    observer.py      who may watch all this (runtime/telemetry); handling.py: whose command a line of a log is about
"""
