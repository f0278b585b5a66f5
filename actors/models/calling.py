"""Asking the models of a slot: one after the other until one answers, each as often as may help."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from actors.models.fleet import Fleet, Slot, SlotSettings
from actors.models.model import Garbled, Model, ModelError, NoAnswer, RateLimited, Refused, Target, Unavailable
from actors.models.sound import sound
from actors.models.wire import Anew, Completion, Delta, ModelRequest

_log = logging.getLogger("troupe.models")

TRIES = 2
"""Of one model that was out of reach, or answered with what is no answer."""

TRIES_WHEN_LIMITED = 4
LONGEST_WAIT_S = 60.0
"""A model that wants to be left alone for longer is given up for this request."""

WAIT_WITH_OTHERS_S = 2.0
"""The same while there is another model to be asked."""

WAIT_UNTOLD_S = 1.0
"""For a rate limit that does not say for how long; doubled with each."""


class Caller:
    """Asks the models of a fleet.

    Args:
        reach: gives what reaches a target.
        pause: waits so many seconds.
    """

    def __init__(
        self, fleet: Fleet, reach: Callable[[Target], Model], pause: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self.fleet = fleet
        self._reach = reach
        self._pause = pause

    async def complete(self, slot: Slot, request: ModelRequest, override: SlotSettings | None = None) -> Completion:
        """The answer as a whole. Raises NoAnswer."""
        async with aclosing(self.stream(slot, request, override)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Completion):
                    return piece
        raise AssertionError("a stream ends with the whole answer, or raises")

    async def stream(
        self, slot: Slot, request: ModelRequest, override: SlotSettings | None = None
    ) -> AsyncGenerator[Delta | Anew | Completion, None]:
        """The answer in pieces, and at the end as a whole. Raises NoAnswer.

        After an `Anew` all that came before it is void.
        """
        targets = self.fleet.targets(slot, request, override)
        failures: list[ModelError] = []
        for number, target in enumerate(targets):
            others = number + 1 < len(targets)
            tries = limited = 0
            while True:
                shown = False
                try:
                    async with aclosing(_whole(self._reach(target), target, request)) as pieces:
                        async for piece in pieces:
                            shown = True
                            yield piece
                            if isinstance(piece, Completion):
                                return
                except ModelError as error:
                    failure = error
                _log.warning("%s", failure)
                tries, limited = tries + 1, limited + isinstance(failure, RateLimited)
                wait_s = _wait_s(failure, tries, limited, others)
                if shown and (others or wait_s is not None):
                    yield Anew(str(failure))
                if wait_s is None:
                    failures.append(failure)
                    break
                await self._pause(wait_s)
        limits = [failure.retry_after_s for failure in failures if isinstance(failure, RateLimited)]
        raise NoAnswer(slot, failures, next((limit for limit in limits if limit is not None), None))


def _wait_s(failure: ModelError, tries: int, limited: int, others: bool) -> float | None:
    """After how many seconds the same model is asked again; None when it is not."""
    if isinstance(failure, Refused):
        return None
    if isinstance(failure, RateLimited):
        asked = failure.retry_after_s
        wait_s = WAIT_UNTOLD_S * 2 ** (limited - 1) if asked is None else asked
        longest = WAIT_WITH_OTHERS_S if others else LONGEST_WAIT_S
        return wait_s if limited < TRIES_WHEN_LIMITED and wait_s <= longest else None
    return 0.0 if tries < TRIES else None


async def _whole(model: Model, target: Target, request: ModelRequest) -> AsyncGenerator[Delta | Completion, None]:
    """The pieces of one try. Raises Unavailable when it takes too long, Garbled when there is no end to it."""
    pieces = model.stream(target, request)
    end = asyncio.get_running_loop().time() + target.timeout_s
    try:
        while True:
            try:
                async with asyncio.timeout_at(end):
                    piece = await anext(pieces)
            except TimeoutError:
                raise Unavailable(target.model, f"did not answer within {target.timeout_s:g} s", late=True) from None
            except StopAsyncIteration:
                raise Garbled(target.model, "ended its answer in the middle") from None
            if isinstance(piece, Completion) and not (piece.message.content or piece.message.tool_calls):
                raise Garbled(target.model, f"answered with nothing at all (it ended with {piece.finish!r})")
            yield sound(piece)
            if isinstance(piece, Completion):
                return
    finally:
        await pieces.aclose()
