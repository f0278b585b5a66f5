"""Sessions: conversations as actors.

    session.py     what people say, and the runs that answer
    transcript.py  how the last messages are held
    values.py      values of sessions, users and applications
    pruning.py     forgetting
    reading.py     what may be asked, of the log too
    prompting.py   what a model was told, made again from the log
    forking.py     another session that goes on from a message
    summing_up.py  a summary by a model, and pruning with it
"""

from actors.sessions.forking import forking
from actors.sessions.prompting import prompt
from actors.sessions.pruning import mark, prune
from actors.sessions.reading import history, status
from actors.sessions.session import Session, Status, session
from actors.sessions.summing_up import summing_up
from actors.sessions.transcript import Line, Transcript
from actors.sessions.values import scope

KINDS = (session, scope, forking, summing_up)
"""What sessions need of a pod."""

session.companions = KINDS[1:]

__all__ = [
    "KINDS",
    "Line",
    "Session",
    "Status",
    "Transcript",
    "forking",
    "history",
    "mark",
    "prompt",
    "prune",
    "scope",
    "session",
    "status",
    "summing_up",
]
