"""Retry policies: how often, and after how long."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime import Retry, RetryPolicy


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


class Busy(ConnectionError):
    """An error of somebody else's module."""


@pytest.mark.parametrize(
    ("never", "gives_up"),
    [
        ((), False),
        ((ConnectionError,), True),
        ((ValueError,), False),
        (("Busy",), True),
        (("ConnectionError",), True),
        (("builtins.OSError",), True),
        ((f"{__name__}.Busy",), True),
        (("Bus", "usy", "elsewhere.Busy"), False),
        ((ValueError, "Busy"), True),
    ],
)
def test_given_classes_or_names_that_are_not_retried_when_an_error_is_one_of_them_then_it_is_not(
    never: Any, gives_up: bool
) -> None:
    assert RetryPolicy(never=never).gives_up(Busy("later")) is gives_up


def test_given_a_handler_that_says_when_it_wants_to_be_tried_again_then_the_policy_is_not_asked() -> None:
    policy = RetryPolicy(first_delay_s=1.0, jitter=0.0, max_delay_s=5.0)
    assert policy.wait_s(Retry("busy", after_s=60.0), 1, 0.5) == 60.0
    assert policy.wait_s(Retry("busy"), 2, 0.5) == 2.0
    assert policy.wait_s(ValueError("busy"), 3, 0.5) == 4.0
    for wrong in (-1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError):
            Retry("busy", after_s=wrong)
