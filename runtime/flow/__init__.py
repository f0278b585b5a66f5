"""What runs a workflow: plain async code whose every wait is in the log.

    delivery.py     a run's requests, numbered as they are made, and what comes of them, handed over one at a time
    sending.py      how an entry leaves for the log
    paced.py        what they are: steps with retries, questions, waits, marks
    divergence.py   what is told when the code asks for something else than it did before
    context.py      what a workflow gets as `ctx`
    combining.py    several things at once: gather, map, race, time-outs
    saga.py         undoing what was done, in reverse
    state.py        what of its runs an actor keeps: folded from the log
"""
