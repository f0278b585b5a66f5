"""The command line: `runtime COMMAND`, also `python -m runtime COMMAND`.

    app.py         all commands together; errors become one line and an exit code
    exits.py       which exit code an error has
    options.py     the options that many commands share
    reach.py       from options to a client: the servers of the environment, or those of the data directory
    output.py      tables for people, JSON for scripts
    arguments.py   a command's arguments as typed on a command line
    moments.py     times as typed on a command line
    children.py    processes that are kept running; formation.py: pods and a gateway made of them
    orders.py      what a person can order an actor to do
    actors.py, gateway.py, intake.py, log.py, dead.py, partitions.py, db.py, infra.py, keys.py, version.py, init.py,
    dev.py         one noun each; template/ is what `init` writes

A command imports what it needs when it runs: `runtime version` must not wait for a broker's client.

Exit codes: 0 it worked · 1 it failed · 2 used or configured wrongly · 3 there is no such thing · 4 the actor rejected
the command · 5 broker, pod or answer not there in time · 130 interrupted.
"""

from runtime.cli.app import main

__all__ = ["main"]
