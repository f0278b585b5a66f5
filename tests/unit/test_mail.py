"""How much a run may hold that was said to it and that it has not taken."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
import pytest

from runtime import mail as mails
from runtime.journal import Steps
from runtime.mail import SIGNAL, Mail, Message, Said
from tests.unit.test_suspension import Attempt, on_loop


async def taking(steps: Steps, mail: Mail) -> object:
    """Takes two, and waits for what never comes."""
    await mail.signal("go", int, None)
    await mail.signal("go", int, None)
    return await mail.signal("never", int, None)


def said(seq: int, name: str, value: bytes = b"1") -> Said:
    return Said(seq, SIGNAL, Message("run", f"id-{seq}", name, msgspec.Raw(value)))


async def turns(until: Callable[[], bool] = lambda: False) -> None:
    """Lets the loop have enough turns for whatever follows."""
    for _ in range(1000):
        if until():
            return
        await asyncio.sleep(0)


def test_given_messages_that_nobody_takes_then_a_run_is_full_until_it_takes_some(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mails, "MOST_UNTAKEN", 3)

    async def scenario() -> None:
        attempt = Attempt(taking)
        mail = attempt.mail
        for seq in (1, 2):
            mail.post(said(seq, "other"))
        assert not mail.full
        mail.post(said(3, "go"))
        assert mail.full, "what it has not heard of yet counts"
        await turns(until=lambda: not mail.full)
        mail.post(said(4, "go"))
        assert mail.full
        await turns(until=lambda: not mail.full)
        mail.post(said(5, "other"))
        await turns()
        assert mail.full
        attempt.task.cancel()

    on_loop(scenario)


def test_given_few_large_messages_then_a_run_is_full_of_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mails, "MOST_UNTAKEN_BYTES", 1000)

    async def scenario() -> None:
        attempt = Attempt(taking)
        attempt.mail.post(said(1, "other", b'"%s"' % (b"x" * 900)))
        await turns()
        assert not attempt.mail.full
        attempt.mail.post(said(2, "other", b'"%s"' % (b"x" * 900)))
        await turns(until=lambda: attempt.mail.full)
        attempt.task.cancel()

    on_loop(scenario)
