"""Who asked over HTTP, and the headers that came along, are known wherever it leads; nobody gets more rights by it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.keys import new_key
from schemas import headers, schedules
from schemas.signature import sign
from tests.gateway.process import GatewayProcess
from tests.support.patience import PATIENCE_S
from tests.support.system import System, run, until

SIGNING_KEY = "k" * 32
SENT = {"ctx-tier": "gold", "baggage": "shop=3, user=ann", "X-Other": "x"}
TRAVELLED = {"baggage": "shop=3, user=ann", "ctx-tier": "gold"}


class Office:
    """A gateway with the keys of people of two tenants."""

    def __init__(self, http: httpx.Client, keys: dict[str, str]) -> None:
        self._http = http
        self._keys = keys

    def __call__(self, who: str, method: str, path: str, body: Any = None, **sent: str) -> Any:
        given = {"Authorization": f"Bearer {self._keys[who]}", **SENT, **sent}
        answer = self._http.request(method, path, json=body, headers=given, timeout=PATIENCE_S)
        return answer.json()

    def notes(self, who: str, key: str) -> Any:
        return self(who, "POST", "/intent", {"kind": "witness", "key": key, "method": "notes", "wait_s": 30})["result"]

    def errand(self, who: str, key: str) -> Any:
        body = {"kind": "errand", "key": key, "method": "run", "wait_s": 60}
        return self(who, "POST", "/intent", body)["result"]


@pytest.fixture(scope="module")
def office(shared_system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    made = {"ann": new_key("acme", "ann", ("manager",)), "bob": new_key("acme", "bob", ("clerk",)),
            "eve": new_key("globex", "eve", ("manager",))}  # fmt: skip
    path = Path(tmp_path_factory.mktemp("keys"), "keys")
    path.write_text("\n".join(line for _, line in made.values()))
    shared_system.start_pod("tests.gateway.errands", schedules.MODULE, signing_key=SIGNING_KEY)
    environment = shared_system.environment(signing_key=SIGNING_KEY, api_keys_file=path)
    with GatewayProcess(environment) as gateway:
        yield Office(gateway.http, {who: key for who, (key, _) in made.items()})


@pytest.mark.parametrize(("who", "role", "may"), [("ann", "manager", True), ("bob", "clerk", False)])
def test_given_a_run_over_http_then_all_that_it_leads_to_works_for_its_caller(
    office: Office, who: str, role: str, may: bool
) -> None:
    expected = [who, [role], TRAVELLED]
    found = office.errand(who, f"e-{who}")
    assert found.pop("approved") == ("approved" if may else "for managers alone")
    assert found == dict.fromkeys(("run", "step", "asked", "task", "child", "grandchild"), expected)
    noted = run(until(lambda: (notes := office.notes(who, f"e-{who}")).keys() >= {"timer", "heard"} and notes))
    assert (noted["asked"], noted["timer"], noted["heard"]) == (expected, expected, expected)
    assert run(until(lambda: office.notes(who, f"e-{who}-told").get("told"))) == expected


def test_given_two_tenants_then_each_ones_people_are_known_within_it_alone(office: Office) -> None:
    assert office.errand("eve", "shared")["grandchild"] == ["eve", ["manager"], TRAVELLED]
    assert office.notes("ann", "shared") == {}
    forged = {headers.PRINCIPAL: "ann", headers.ROLES: "manager", headers.SIGNATURE: "v2.9999999999.AAAA"}
    body = {"kind": "witness", "key": "forged", "method": "note", "args": {"label": "by"}, "wait_s": 30}
    assert office("bob", "POST", "/intent", body, **forged)["result"] == ["bob", ["clerk"], TRAVELLED]


def test_given_a_schedule_then_its_runs_work_for_who_made_it(office: Office) -> None:
    spec = {"kind": "reporting", "args": {"label": "due"}, "every_s": 1}
    made = office("ann", "PUT", "/schedules/reports", spec)
    assert made.get("name") == "reports", made
    assert run(until(lambda: office.notes("ann", "schedule").get("due"))) == ["ann", ["manager"], TRAVELLED]
    office("ann", "DELETE", "/schedules/reports", {})


def test_given_headers_that_cannot_travel_then_the_caller_is_told(office: Office) -> None:
    body: dict[str, Any] = {"kind": "witness", "key": "w", "method": "notes"}
    answer = office("ann", "POST", "/intent", body, **{"ctx-a": "x" * 2000})
    assert answer["error"]["code"] == "bad_request"
    assert "header 'ctx-a' is not 1 to 1024 printable ASCII characters" in answer["error"]["message"]
    body |= {"method": "note", "args": {"label": "by"}, "wait_s": 30}
    answer = office("ann", "POST", "/intent", body, baggage="x" * 2000, tracestate="")
    assert answer["result"] == ["ann", ["manager"], {"ctx-tier": "gold"}]


def test_given_a_signed_command_that_is_sent_with_a_place_to_tell_then_nobody_is_told_in_its_callers_name(
    office: Office, shared_system: System
) -> None:
    subject, id, body = "cmd.acme.witness.seen.note", "captured", b'{"label": "by"}'
    proof = sign(
        SIGNING_KEY.encode(), subject=subject, id=id, body=body, principal="ann", expires_at=2e9, roles="manager"
    )
    sent = {headers.ID: id, headers.PRINCIPAL: "ann", headers.ROLES: "manager", headers.SIGNATURE: proof}

    async def scenario() -> None:
        async with shared_system.client(tenant="acme") as client:
            await client.connection.jetstream().publish(
                subject, body, headers=sent | {headers.THEN: "witness.other.heard"}
            )
            assert (await until(lambda: office.notes("ann", "seen")))["by"][0] == "ann"
            assert (await until(lambda: office.notes("ann", "other")))["heard"] == [None, [], {}]

    run(scenario())
