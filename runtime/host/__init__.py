"""The host: what a pod does with the messages of its lanes.

    pod.py           wires everything, over the ports of its parts.py; assembly.py alone knows adapters
    ports.py, reading.py, keeping.py, broker.py, threads.py
                     what the host needs of a log, of a broker, and of threads
    leases.py        membership, taking and handing over lanes; balance.py says who should own which
    command.py       a command, from the stream, a timer or a pending row; items.py: everything a batch is made of
    bodies.py        bodies that are too large for a message, fetched as memory allows
    committer.py     the commit pipeline; lookups.py: what it asks the log first;
                     suspects.py: what the log does not take
    planner.py       has the turns run in the turn thread, and keeps out what made them stand still
    turns.py         what each item does to its actor, written into a plan.py; works.py: the actors of a batch;
                     attempts.py: running a handler; orders.py: what a person wants
    aftermath.py     what follows a commit
    turn_thread.py   where handlers run; executions.py: those that may wait
    reads.py         queries, answered from committed state; services.py and front.py: what any pod answers; desk.py:
                     how many at the same time
    timers.py, outbox.py, loading.py, housekeeping.py, residence.py, watchdog.py
    tasks.py         what runs in the background, none of it unwatched
    observer.py      who may watch all this (runtime/telemetry); handling.py: whose command a line of a log is about
"""
