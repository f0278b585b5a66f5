"""Retry policies: how often, and after how long."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime import RetryPolicy


@pytest.mark.parametrize(("attempts", "delay"), [(1, 1.0), (2, 2.0), (3, 4.0), (4, 5.0), (5, 5.0), (5000, 5.0)])
def test_given_no_jitter_when_attempts_fail_then_the_delay_doubles_up_to_its_limit(attempts: int, delay: float) -> None:
    assert RetryPolicy(first_delay_s=1.0, factor=2.0, max_delay_s=5.0, jitter=0.0).delay_s(attempts, 0.5) == delay


def test_given_no_first_delay_when_very_many_attempts_failed_then_there_is_still_none() -> None:
    assert RetryPolicy(first_delay_s=0.0).delay_s(5000, 0.5) == 0.0


@given(
    st.integers(1, 2000),
    st.floats(0, 1, exclude_max=True),
    st.floats(0, 1),
    st.floats(0, 10),
    st.floats(1, 3),
    st.floats(0, 10),
)
def test_given_any_policy_when_a_delay_is_asked_for_then_it_is_within_its_bounds(
    attempts: int, random: float, jitter: float, first: float, factor: float, most: float
) -> None:
    policy = RetryPolicy(first_delay_s=first, factor=factor, max_delay_s=most, jitter=jitter)
    delay = policy.delay_s(attempts, random)
    assert 0 <= delay <= most
    assert delay >= min(first, most) * (1 - jitter)


@pytest.mark.parametrize(
    "fields",
    [
        {"max_attempts": 0},
        {"max_attempts": -1},
        {"first_delay_s": -0.1},
        {"first_delay_s": float("nan")},
        {"first_delay_s": float("inf")},
        {"max_delay_s": -1},
        {"max_delay_s": float("inf")},
        {"factor": 0.5},
        {"factor": float("inf")},
        {"jitter": -0.1},
        {"jitter": 1.1},
        {"jitter": float("nan")},
    ],
    ids=str,
)
def test_given_a_policy_that_makes_no_sense_when_made_then_it_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="at least 1|not negative"):
        RetryPolicy(**fields)
