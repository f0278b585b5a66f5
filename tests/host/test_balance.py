"""Who should own which lane."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from runtime.host.balance import assign

pods = st.lists(st.text("abcdef0123456789", min_size=1, max_size=6), min_size=1, max_size=9, unique=True)
counts = st.sampled_from([1, 3, 8, 32])


@given(pods, counts)
def test_given_any_pods_when_assigned_then_every_lane_has_one_and_no_pod_more_than_its_share(
    names: list[str], lanes: int
) -> None:
    owners = assign(range(lanes), names)
    assert set(owners) == set(range(lanes))
    assert max(Counter(owners.values()).values()) <= -(-lanes // len(names))


@given(pods, counts)
def test_given_the_same_pods_in_another_order_when_assigned_then_the_answer_is_the_same(
    names: list[str], lanes: int
) -> None:
    assert assign(range(lanes), names) == assign(range(lanes), list(reversed(names)))


def test_given_a_pod_that_leaves_when_assigned_again_then_mostly_its_own_lanes_move() -> None:
    names = [f"pod{n}" for n in range(8)]
    before, after = assign(range(128), names), assign(range(128), names[1:])
    moved = [lane for lane in before if before[lane] != after[lane]]
    own = [lane for lane in before if before[lane] == names[0]]
    assert set(own) <= set(moved)
    assert len(moved) < 2 * len(own)
