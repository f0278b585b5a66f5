"""The whole engine in one thread: seeded, without a socket, a file or a clock of the machine's (docs/adr/0012).

    scheduler.py   virtual time, and an event loop a node: killed or frozen at any await
    store.py       the tables and transactions that Postgres is; log.py: the host's ports over them
    groups.py      which group of pods is current, and promotions
    broker.py      the subjects that NATS is, and streams.py its streams; wire.py: a connection to it
    handlers.py    the loop of handlers in a node
    assembly.py    a pod put together from these
    kinds.py       the actors; program.py: what clients are to do with them, clients.py: a client that does it
    errands.py     its workflows, and the world in which their steps do something; flows.py: what must be true of them
    watching.py    readers of sessions, and what must be true of them
    faults.py      what happens to everybody
    history.py     one history; verify.py: what must be true of it, and runs.py of executions that are told something
    planted.py     bugs put into the engine on purpose, each to be caught; beside.py, straying.py: more of them
    runner.py      many histories, in many processes; __main__.py: make simulate
"""
