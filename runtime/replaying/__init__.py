"""What other code makes of a recorded log: actors are folded, runs replayed, and every difference is told.

    recording.py    events and states as `runtime log export` writes them
    folding.py      an actor's events through the code's fold
    rehearsal.py    a workflow's run through the code: up to where the record ends, and nothing is begun
    comparing.py    all of a recording against the kinds of a module

Nothing here reaches a server, and no step, question or wait is carried out: it runs in CI (docs/adr/0025).
"""
