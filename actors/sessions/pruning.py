"""Forgetting: what is not told any more stays in the log, and is read from there by who asks for all of it."""

from __future__ import annotations

from typing import Literal

from actors.sessions.session import Marked, Pruned, Session, session
from actors.sessions.transcript import HELD, MAX_IMPORTANT
from runtime import Rejected, Turn

How = Literal["keep_last", "sliding_window", "keep_important"]


@session.command
def mark(state: Session, ctx: Turn, number: int, important: bool = True) -> Marked | None:
    """Marks a message as important, or takes that back: what prunes with `keep_important` keeps it."""
    line = state.transcript.find(number)
    if line is None:
        raise Rejected(
            f"session {ctx.key} holds no message {number} (it holds the last {HELD} at least, and important ones): "
            "mark it while it is one of them"
        )
    marked = sum(1 for one in state.transcript if one.important)
    if important and marked >= MAX_IMPORTANT:
        raise Rejected(f"{MAX_IMPORTANT} messages of session {ctx.key} are important, which is the limit")
    return None if line.important == important else Marked(number, important)


@session.command
def prune(
    state: Session, ctx: Turn, how: How, keep: int = 50, summary: str = "", said: int | None = None
) -> Pruned | None:
    """Forgets all messages but the last `keep`, and with `keep_important` those that are marked.

    `sliding_window` leaves no answer of a tool, and no answer to nobody, at its beginning: it begins with what a person
    said. `summary` is what is told in place of the rest; the workflow `session-summary` makes one and prunes with it.
    `said` is how many messages there were when that was made: what was said since stays as well.
    The result is how many were forgotten.
    """
    if not 0 < keep <= HELD:
        raise Rejected(f"keep is how many of the last messages stay: 1 to {HELD}")
    transcript = state.transcript
    said = transcript.said if said is None else min(said, transcript.said)
    upto = max(said - keep, transcript.forgotten)
    if how == "sliding_window":
        recent = [line for line in transcript if line.number > upto]
        first = next((line.number for line in recent if line.message.role == "user"), upto + 1)
        upto = first - 1
    kept = tuple(
        line.number for line in transcript if line.number <= upto and line.important and how == "keep_important"
    )
    pruned = Pruned(upto, kept, summary or transcript.summary, how)
    forgotten = len(transcript) - len(transcript.forget(upto, kept, ""))
    ctx.reply(forgotten)
    return pruned if forgotten or pruned.summary != transcript.summary else None
