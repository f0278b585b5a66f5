"""Approvals as actors: who may decide, what time does, and what the run and the desk hear."""

from __future__ import annotations

from typing import Any

import pytest

from actors.approvals import KINDS, approval, desk
from runtime import Rejected, Turn, World, function
from schemas.approvals import DESK_KEY, KIND, Description, Outcome, Page, Run, Spec

RUN = Run("refunding", "r1", "start-1")


def spec(**fields: Any) -> Spec:
    given: dict[str, Any] = {"name": "refund", "run": RUN, "payload": {"amount": 900}} | fields
    return Spec(**given)


def world() -> World:
    @function(name="refunding")
    async def refunding(ctx: Turn) -> Any:
        return await ctx.signal("approval a1", timeout_s=0)

    return World(*KINDS, refunding)


def outcome_of(world: World) -> Outcome:
    found: Outcome = world.ask(approval, "a1", "outcome", type=Outcome)
    return found


def described(world: World) -> Description:
    found: Description = world.query(approval, "a1", "describe", type=Description)
    return found


def shown(world: World, **filters: Any) -> list[str]:
    page: Page = world.query(desk, DESK_KEY, "pending", filters, type=Page)
    return [summary.id for summary in page.approvals]


def test_given_a_request_when_a_role_approves_then_the_run_is_told_and_the_desk_is_empty() -> None:
    here = world()
    here.ask(approval, "a1", "request", spec(required_roles=("manager",)))
    assert shown(here) == ["a1"]
    assert described(here).spec.payload == {"amount": 900}
    decision = {"approve": True, "comment": "fine"}
    done = here.ask(approval, "a1", "decide", decision, principal="ann", roles=("manager",), type=Outcome)
    assert (done.status, done.by, done.comment, done.approved) == ("approved", "ann", "fine", True)
    assert outcome_of(here) == done
    assert shown(here) == []


@pytest.mark.parametrize(
    ("principal", "roles"), [(None, ()), ("bob", ()), ("bob", ("clerk",)), (None, ("clerk",)), ("bob", ("Manager",))]
)
def test_given_a_role_that_is_asked_for_then_nobody_else_decides(principal: str | None, roles: tuple[str, ...]) -> None:
    here = world()
    here.ask(approval, "a1", "request", spec(required_roles=("manager", "owner")))
    for approve in (True, False):
        with pytest.raises(Rejected, match="is decided by manager or owner") as caught:
            here.ask(approval, "a1", "decide", {"approve": approve}, principal=principal, roles=roles)
        assert caught.value.details["code"] == "forbidden"
    assert outcome_of(here).status == "pending"


def test_given_a_decision_then_a_second_one_is_refused_and_the_same_is_answered_again() -> None:
    here = world()
    here.ask(approval, "a1", "request", spec())
    first = here.ask(approval, "a1", "decide", {"approve": False}, principal="ann", type=Outcome)
    assert here.ask(approval, "a1", "decide", {"approve": False}, principal="ann", type=Outcome) == first
    for who, approve in (("ann", True), ("bob", False), ("bob", True)):
        with pytest.raises(Rejected, match="is rejected already"):
            here.ask(approval, "a1", "decide", {"approve": approve}, principal=who)
    assert outcome_of(here) == first


def test_given_time_that_is_over_then_it_expires_and_is_not_approved() -> None:
    here = world()
    here.ask(approval, "a1", "request", spec(timeout_s=60))
    here.advance(59)
    assert outcome_of(here).status == "pending"
    here.advance(2)
    assert outcome_of(here).status == "expired"
    assert not outcome_of(here).approved
    assert shown(here) == []
    with pytest.raises(Rejected, match="is expired already"):
        here.ask(approval, "a1", "decide", {"approve": True}, principal="ann")


def test_given_an_escalation_when_time_is_over_then_others_may_decide_too_until_it_expires() -> None:
    here = world()
    roles = {"required_roles": ("manager",), "escalate_to": ("director",)}
    here.ask(approval, "a1", "request", spec(timeout_s=60, escalate_timeout_s=30, **roles))
    with pytest.raises(Rejected, match="is decided by manager, "):
        here.ask(approval, "a1", "decide", {"approve": True}, principal="dan", roles=("director",))
    here.advance(61)
    assert (described(here).roles, described(here).escalated) == (("manager", "director"), True)
    assert shown(here, role="director") == ["a1"]
    assert shown(here, role="clerk") == []
    here.advance(31)
    assert outcome_of(here).status == "expired"

    again = world()
    again.ask(approval, "a1", "request", spec(timeout_s=60, escalate_timeout_s=30, **roles))
    again.advance(61)
    again.ask(approval, "a1", "decide", {"approve": True}, principal="dan", roles=("director",))
    again.advance(100)
    assert outcome_of(again).approved


def test_given_an_approval_that_anybody_decides_when_it_escalates_then_anybody_still_may() -> None:
    here = world()
    here.ask(approval, "a1", "request", spec(timeout_s=60, escalate_to=("director",)))
    here.advance(61)
    assert described(here).escalated
    assert here.ask(approval, "a1", "decide", {"approve": True}, principal="bob", type=Outcome).approved


def test_given_a_timer_that_somebody_else_rings_then_nothing_happens_before_its_time() -> None:
    here = world()
    here.ask(approval, "a1", "request", spec(timeout_s=60))
    here.ask(approval, "a1", "time_over")
    assert outcome_of(here).status == "pending"
    here.advance(61)
    assert outcome_of(here).status == "expired"


def test_given_a_run_that_withdraws_then_nobody_decides_any_more() -> None:
    here = world()
    here.ask(approval, "a1", "request", spec())
    here.ask(approval, "a1", "withdraw", sender=(RUN.kind, RUN.key), args={"reason": "cancelled"})
    assert shown(here) == []
    with pytest.raises(Rejected, match="is withdrawn already"):
        here.ask(approval, "a1", "decide", {"approve": True})


def test_given_the_same_request_again_then_nothing_changes_and_another_one_is_refused() -> None:
    here = world()
    here.ask(approval, "a1", "request", spec(timeout_s=60))
    here.advance(30)
    here.ask(approval, "a1", "request", spec(timeout_s=60))
    here.advance(31)
    assert outcome_of(here).status == "expired"
    with pytest.raises(Rejected, match="with something else"):
        here.ask(approval, "a1", "request", spec(timeout_s=61))


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ""},
        {"timeout_s": 0},
        {"timeout_s": -1},
        {"escalate_to": ("director",)},
        {"timeout_s": 1, "escalate_timeout_s": 1},
    ],
)
def test_given_what_cannot_be_then_it_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(Rejected):
        world().ask(approval, "a1", "request", spec(**fields))


def test_given_many_approvals_then_the_desk_gives_them_in_pages() -> None:
    here = world()
    for number in range(5):
        here.ask(approval, f"a{number}", "request", spec())
    page: Page = here.query(desk, DESK_KEY, "pending", {"limit": 2}, type=Page)
    assert ([one.id for one in page.approvals], page.after) == (["a0", "a1"], "a1")
    page = here.query(desk, DESK_KEY, "pending", {"limit": 5, "after": "a1"}, type=Page)
    assert ([one.id for one in page.approvals], page.after) == (["a2", "a3", "a4"], None)


def test_given_nothing_asked_then_there_is_nothing_to_decide() -> None:
    here = world()
    assert here.query(approval, "none", "describe") is None
    with pytest.raises(Rejected, match="there is no approval none"):
        here.ask(approval, "none", "decide", {"approve": True})


def test_given_what_only_the_run_or_the_approval_may_say_when_anybody_else_says_it_then_it_is_refused() -> None:
    here = world()
    here.ask(approval, "a1", "request", spec())
    summary = {"id": "a2", "name": "n", "kind": "k", "key": "k", "roles": [], "requested_at": 0.0}
    for sender in (None, ("refunding", "r2"), (KIND, "a2")):
        with pytest.raises(Rejected, match="the run that asked for it alone"):
            here.ask(approval, "a1", "withdraw", {"reason": "no"}, sender=sender)
        with pytest.raises(Rejected, match="the approval itself alone"):
            here.ask(desk, DESK_KEY, "remove", {"id": "a1"}, sender=sender)
    for sender in (None, (RUN.kind, RUN.key), (KIND, "a1")):
        with pytest.raises(Rejected, match="the approval itself alone"):
            here.ask(desk, DESK_KEY, "put", summary, sender=sender)
    assert shown(here) == ["a1"]
    assert outcome_of(here).status == "pending"
    here.ask(approval, "a1", "withdraw", {"reason": "no"}, sender=(RUN.kind, RUN.key))
    assert outcome_of(here).status == "withdrawn"
    assert shown(here) == []
