"""The codes of failures a caller may see. One table, so that HTTP, NATS and the CLI say the same.

A code is part of the wire protocol: it may be added, never renamed.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Code(NamedTuple):
    """A failure's code: its HTTP status, and whether the same command may be sent again with hope."""

    name: str
    status: int
    retryable: bool
    meaning: str


_CODES = (
    Code("bad_request", 400, False, "the request could not be read"),
    Code("invalid_arguments", 400, False, "the arguments do not fit the method"),
    Code("bad_address", 400, False, "tenant, kind, key or method cannot be part of an address"),
    Code("unauthenticated", 401, False, "no valid credentials came with the request"),
    Code("forbidden", 403, False, "the principal may not do this"),
    Code("bad_reply_subject", 403, False, "the reply subject is not under the tenant's own inbox prefix"),
    Code("not_found", 404, False, "there is no such thing"),
    Code("unknown_kind", 404, False, "no pod serves this kind"),
    Code("unknown_method", 404, False, "the kind has no such method"),
    Code("method_not_allowed", 405, False, "the path exists, and takes other HTTP methods"),
    Code("expired", 408, False, "the deadline had passed before the command's turn"),
    Code("rejected", 409, False, "the actor refused the command; nothing changed"),
    Code("id_reused", 409, False, "the command's id was used before with another method or other arguments"),
    Code("cancelled", 409, False, "the command was cancelled while it ran, or before"),
    Code("terminated", 409, False, "the run was ended by a person, without its handler"),
    Code("timed_out", 408, False, "the run took longer than the time-out that came with it"),
    Code("deleted", 410, False, "the actor was deleted after this command was done, and its answer with it"),
    Code("not_running", 409, False, "the run that this is for has ended, or is not known to the actor yet"),
    Code("parked", 409, False, "the command failed and waits for a person among the dead letters"),
    Code("too_large", 413, False, "the body or the result is larger than the limit"),
    Code("too_many_requests", 429, True, "a limit of rate or backlog is reached"),
    Code("handler_failed", 500, False, "the handler raised; the command is kept among the dead letters"),
    Code("bad_result", 500, False, "the handler returned something it must not"),
    Code("unreadable_log", 500, False, "an event of the actor cannot be decoded; it is stopped, nothing is lost"),
    Code("call_cycle", 508, False, "the call would wait for itself: its key is held by its own chain of calls"),
    Code("unavailable", 503, True, "the broker, the database or the owner cannot be reached now"),
    Code("stream_full", 503, True, "the broker stores no more commands for now"),
    Code("timeout", 504, True, "no answer came in time; the command may still be processed: ask again with its id"),
)

CODES: Final[dict[str, Code]] = {code.name: code for code in _CODES}
