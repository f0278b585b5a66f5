"""What a run stands on: servers that can be broken in every way that the faults need.

stage.py      all of it: one broker or three, one database, and how each process reaches them
quota.py      a file system with a limit that can be lowered to what is used
broker.py     one nats-server: crash, power cut, a stream with no room left
cluster.py    three nats-servers with replicated streams
database.py   Postgres: crash, backup and restore
clocks.py     wall clocks of single processes
"""

from tests.chaos.stage.stage import Needs, Stage

__all__ = ["Needs", "Stage"]
