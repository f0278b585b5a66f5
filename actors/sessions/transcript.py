"""The messages of a conversation, in pages: adding one copies a page and the list of pages, not all of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import Struct
from msgspec.structs import replace

from actors.models.wire import Message

PAGE = 64
"""Messages of a page."""


class Line(Struct, frozen=True, omit_defaults=True):
    """A message in its conversation.

    Attributes:
        number: from 1, and never used again.
        at: when it was said (Unix seconds).
        run: the command id of the run that it began, or that said it.
        by: the principal that said it, when that is known.
        important: kept by the pruning that keeps what is important.
    """

    number: int
    message: Message
    at: float
    run: str = ""
    by: str | None = None
    important: bool = False


class Transcript(Struct, frozen=True, omit_defaults=True):
    """What is remembered of a conversation.

    Attributes:
        said: messages so far, forgotten ones too.
        summary: of what came before the first that is here.
    """

    pages: tuple[tuple[Line, ...], ...] = ()
    said: int = 0
    summary: str = ""

    def __len__(self) -> int:
        return sum(len(page) for page in self.pages)

    def __iter__(self) -> Iterator[Line]:
        for page in self.pages:
            yield from page

    def add(self, line: Line) -> Transcript:
        """With one more."""
        *before, last = self.pages or ((),)
        pages = (*before, (*last, line)) if len(last) < PAGE else (*before, last, (line,))
        return replace(self, pages=pages, said=line.number)

    def keep(self, lines: Iterable[Line], summary: str) -> Transcript:
        """With these alone, and a summary of the others."""
        kept = list(lines)
        pages = tuple(tuple(kept[at : at + PAGE]) for at in range(0, len(kept), PAGE))
        return Transcript(pages, self.said, summary)

    def after(self, number: int, limit: int) -> list[Line]:
        """At most `limit` of those behind a number, in order."""
        found: list[Line] = []
        for page in self.pages:
            if not page or page[-1].number <= number:
                continue
            found += [line for line in page if line.number > number]
            if len(found) >= limit:
                break
        return found[:limit]

    def last(self, limit: int, upto: int) -> list[Line]:
        """At most `limit` of those up to a number, the newest ones, in order."""
        found: list[Line] = []
        for page in reversed(self.pages):
            found = [line for line in page if line.number <= upto] + found
            if len(found) >= limit:
                break
        return found[-limit:] if limit else []
