"""What readers of the log are told of commits."""

from __future__ import annotations

import msgspec

from runtime.clock import ManualClock
from runtime.host.notices import EVERY_S, Notices
from tests.host.test_regressions import lane_of
from tests.support.system import run, until


def test_given_commits_that_follow_one_another_fast_then_they_share_a_notice_and_the_last_is_told() -> None:
    async def scenario() -> None:
        told: list[dict[int, int]] = []
        clock = ManualClock()
        notices = Notices(lambda body: told.append(msgspec.msgpack.decode(body)), clock.monotonic)
        one, two = lane_of(1), lane_of(2)
        notices.tell({one: 1})
        assert told == [{1: 1}], "the first one is told at once"
        notices.tell({one: 2})
        notices.tell({one: 3, two: 7})
        assert len(told) == 1
        await until(lambda: len(told) == 2)
        assert told[1] == {1: 3, 2: 7}
        clock.advance(EVERY_S * 2)
        notices.tell({two: 8})
        assert told[2] == {2: 8}

    run(scenario())
