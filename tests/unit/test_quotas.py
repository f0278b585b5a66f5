"""Quotas of what waits of a tenant: how they are written, and what a client makes of what pods say."""

from __future__ import annotations

import msgspec
import pytest

from gateway.errors import respond
from runtime.client.connection import Connection
from runtime.client.quota import Quota
from runtime.errors import CallFailed, Misconfigured
from runtime.host.quotas import Backlogs, Quotas
from schemas.backlog import BELIEVED_S, Backlog
from schemas.wire import Failure

SUBJECT = "cmd.acme.counter.a.add"


class Heard:
    """A client's quota, and a clock that the test sets."""

    def __init__(self) -> None:
        self.now = 100.0
        self.quota = Quota(Connection(), "acme", lambda: self.now)

    def hear(self, pod: str, waiting: int, limit: int) -> None:
        """A pod says how much waits."""
        word = Backlog("acme", pod, waiting, limit)
        self.quota.hear("_INBOX.acme.backlog", "", msgspec.json.encode(word), b"")


def test_given_a_number_for_all_and_one_for_some_then_each_tenant_has_its_own() -> None:
    quotas = Quotas("1000 acme=50 umbrella=0")
    assert [quotas.of(tenant) for tenant in ("acme", "umbrella", "initech")] == [50, 0, 1000]
    assert Quotas("").of("acme") == 0


@pytest.mark.parametrize("text", ["many", "acme=", "acme=-1", "=5", "a.b=5"])
def test_given_what_is_no_quota_when_it_is_read_then_the_error_says_how_to_write_one(text: str) -> None:
    with pytest.raises(Misconfigured, match="TENANT=NUMBER"):
        Quotas(text)


def test_given_pods_that_hold_as_much_as_may_wait_when_more_is_sent_then_it_is_refused_with_a_time() -> None:
    heard = Heard()
    heard.hear("one", 60, 100)
    assert not heard.quota.full
    heard.hear("two", 40, 100)
    assert heard.quota.full
    with pytest.raises(CallFailed, match=r"100 commands of tenant 'acme' wait and 100 may") as refused:
        heard.quota.check(SUBJECT)
    assert refused.value.code == "too_many_requests"
    assert refused.value.details == {"retry_after_s": 1, "waiting": 100, "limit": 100}


def test_given_a_full_quota_when_a_run_is_cancelled_then_that_may_pass_and_a_start_may_not() -> None:
    heard = Heard()
    heard.hear("one", 500, 100)
    heard.quota.check("cmd.acme.flow.a.$cancel")
    with pytest.raises(CallFailed, match="too_many_requests"):
        heard.quota.check("cmd.acme.flow.a.$start")


def test_given_a_full_quota_when_less_waits_or_nothing_is_said_any_more_then_more_may_be_sent() -> None:
    heard = Heard()
    heard.hear("one", 100, 100)
    heard.hear("one", 99, 100)
    assert not heard.quota.full
    heard.hear("one", 100, 100)
    heard.now += BELIEVED_S
    heard.quota.check(SUBJECT)
    assert not heard.quota.full


def test_given_no_limit_when_much_waits_then_nothing_is_refused() -> None:
    heard = Heard()
    heard.hear("one", 10**9, 0)
    assert not heard.quota.full


def test_given_how_fast_it_becomes_less_when_more_is_sent_then_the_time_follows_from_it() -> None:
    heard = Heard()
    heard.hear("one", 10_000, 1_000)
    heard.now += 1.0
    heard.hear("one", 9_000, 1_000)
    with pytest.raises(CallFailed) as refused:
        heard.quota.check(SUBJECT)
    assert refused.value.details["retry_after_s"] == 8


def test_given_a_tenant_that_is_read_with_the_others_again_then_its_pod_says_once_that_nothing_waits() -> None:
    said: list[Backlog] = []
    waiting = {"acme": 7}
    backlogs = Backlogs("one", Quotas("5"), lambda: waiting, lambda _, body: said.append(decoded(body)))
    backlogs.say()
    waiting.clear()
    backlogs.say()
    backlogs.say()
    assert said == [Backlog("acme", "one", 7, 5), Backlog("acme", "one", 0, 5)]


def decoded(body: bytes) -> Backlog:
    """What was said."""
    return msgspec.json.decode(body, type=Backlog)


def test_given_a_full_quota_when_it_is_told_over_http_then_it_says_when_to_come_again() -> None:
    response = respond(Failure("too_many_requests", "much waits", details={"retry_after_s": 8}))
    assert (response.status_code, response.headers["Retry-After"]) == (429, "8")
