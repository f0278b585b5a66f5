"""The last messages of a conversation, in pages: adding one copies a page and the list of pages, not all of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import Struct
from msgspec.structs import replace

from actors.models.wire import Message

PAGE = 64
"""Messages of a page."""

PAGES = 8
"""Pages that are held: older ones are read from the log by who wants them. So a snapshot, and what loading an actor
costs, does not grow with the conversation."""

HELD = PAGE * (PAGES - 1)
"""The last messages that are held in any case."""

MAX_IMPORTANT = 64


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
    """What is held of a conversation: its last messages, and older ones that are important. The log has them all.

    Attributes:
        said: messages so far, forgotten ones too.
        summary: of what was forgotten.
        forgotten: messages up to this number are not told any more, but for the important ones.
        important: these, where they are older than the pages.
    """

    pages: tuple[tuple[Line, ...], ...] = ()
    said: int = 0
    summary: str = ""
    forgotten: int = 0
    important: tuple[Line, ...] = ()

    def __len__(self) -> int:
        """How many are remembered."""
        kept = sum(1 for line in self if line.number <= self.forgotten)
        return self.said - self.forgotten + kept

    def __iter__(self) -> Iterator[Line]:
        """Those that are held, in order."""
        yield from self.important
        for page in self.pages:
            yield from page

    @property
    def held_from(self) -> int:
        """The number of the first message of the pages; every one behind it that is not forgotten is held."""
        return next((page[0].number for page in self.pages if page), self.said + 1)

    def add(self, line: Line) -> Transcript:
        """With one more; the oldest page goes where there are too many."""
        *before, last = self.pages or ((),)
        pages = (*before, (*last, line)) if len(last) < PAGE else (*before, last, (line,))
        if len(pages) <= PAGES:
            return replace(self, pages=pages, said=line.number)
        older = tuple(one for one in pages[0] if one.important)
        return replace(self, pages=pages[1:], said=line.number, important=(*self.important, *older))

    def forget(self, upto: int, kept: Iterable[int], summary: str) -> Transcript:
        """Without the messages up to a number, but for those kept, and with a summary of them."""
        numbers = frozenset(kept)
        lines = [line for line in self if line.number > upto or line.number in numbers]
        recent = [line for line in lines if line.number > upto]
        pages = tuple(tuple(recent[at : at + PAGE]) for at in range(0, len(recent), PAGE))
        older = tuple(line for line in lines if line.number <= upto)
        return Transcript(pages, self.said, summary, max(upto, self.forgotten), older)

    def mark(self, number: int, important: bool) -> Transcript:
        """With one of those that are held marked, or not any more."""

        def one(line: Line) -> Line:
            return replace(line, important=important) if line.number == number else line

        pages = tuple(tuple(one(line) for line in page) for page in self.pages)
        older = tuple(line for line in self.important if important or line.number != number)
        return replace(self, pages=pages, important=older)

    def find(self, number: int) -> Line | None:
        """The message of that number, if it is held."""
        return next((line for line in self if line.number == number), None)

    def after(self, number: int, limit: int) -> list[Line]:
        """At most `limit` of those held behind a number, in order."""
        found = [line for line in self.important if line.number > number]
        for page in self.pages:
            if not page or page[-1].number <= number:
                continue
            found += [line for line in page if line.number > number]
            if len(found) >= limit:
                break
        return found[:limit]

    def last(self, limit: int, upto: int) -> list[Line]:
        """At most `limit` of those held up to a number, the newest ones and the important, in order."""
        found: list[Line] = []
        for page in reversed(self.pages):
            found = [line for line in page if line.number <= upto] + found
            if len(found) >= limit:
                break
        older = [line for line in self.important if line.number <= upto][-limit:]
        return (older + found[-max(1, limit - len(older)) :]) if limit else []
