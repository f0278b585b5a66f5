"""Sessions: conversations as actors. See session.py for what they do, transcript.py for how their messages are kept."""

from actors.sessions.session import Session, session
from actors.sessions.transcript import Line, Transcript

__all__ = ["Line", "Session", "Transcript", "session"]
