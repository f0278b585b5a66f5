"""Approvals by HTTP, command line and plain NATS: each lets only the role decide, and no crash loses one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.keys import new_key
from runtime.client import Client
from runtime.errors import CallFailed, Rejected
from schemas.approvals import DESK, DESK_KEY, KIND, MODULE
from schemas.headers import SENDER, SENDER_PROOF
from tests.cli.command import Runtime
from tests.gateway.process import GatewayProcess, error_of
from tests.support.patience import PATIENCE_S
from tests.support.system import KINDS, PodProcess, System, run, until

SIGNING_KEY = "k" * 32
OWN = "tests.gateway.kinds"


class Desk:
    """A gateway with the keys of some people, before a pod that may be killed."""

    def __init__(self, system: System, gateway: GatewayProcess, keys: dict[str, str]) -> None:
        self.system = system
        self.http = gateway.http
        self.keys = keys
        self.pod = self.start()

    def start(self) -> PodProcess:
        return self.system.start_pod(KINDS, OWN, MODULE, signing_key=SIGNING_KEY, suspend_after_s=0.5)

    def as_(self, who: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.keys[who]}"}

    def begin(self, key: str, amount: int, kind: str = "refunding") -> tuple[str, str]:
        """Starts a run; gives where its result is, and the id of its approval."""
        body = {"kind": kind, "key": key, "method": "run", "args": {"amount": amount}}
        begun = self.http.post("/runs", json=body, headers=self.as_("bob")).json()
        found = run(until(lambda: self.pending(key)))
        return begun["links"]["self"], found["id"]

    def pending(self, key: str) -> Any:
        page = self.http.get("/approvals", headers=self.as_("bob")).json()
        return next((one for one in page["approvals"] if one["key"] == key), None)

    def result(self, link: str) -> Any:
        answer = self.http.get(link, params={"wait_s": 30}, headers=self.as_("bob"), timeout=PATIENCE_S)
        assert "result" in answer.json(), answer.text
        return answer.json()["result"]


@pytest.fixture(scope="module")
def desk(shared_system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    made = {"ann": new_key("acme", "ann", ("manager",)), "bob": new_key("acme", "bob", ("clerk",)),
            "eve": new_key("globex", "eve", ("manager",))}  # fmt: skip
    path = tmp_path_factory.mktemp("keys") / "keys"
    path.write_text("\n".join(line for _, line in made.values()))
    environment = shared_system.environment(api_keys_file=path, signing_key=SIGNING_KEY)
    with GatewayProcess(environment) as gateway:
        yield Desk(shared_system, gateway, {who: key for who, (key, _) in made.items()})


def test_given_a_run_that_asks_when_its_pod_is_killed_then_a_manager_alone_still_decides_it(desk: Desk) -> None:
    link, id = desk.begin("r1", 900)
    desk.pod.kill()
    desk.pod = desk.start()
    place = f"/approvals/{id}"
    assert error_of(desk.http.post(f"{place}/approve", json={}, headers=desk.as_("bob"))) == (403, "forbidden")
    assert error_of(desk.http.post(f"{place}/approve", json={}, headers=desk.as_("eve"))) == (404, "not_found")
    assert error_of(desk.http.post(f"{place}/approve", json={})) == (401, "unauthenticated")
    assert error_of(desk.http.post(f"{place}/approve", json=[], headers=desk.as_("ann"))) == (400, "bad_request")
    forged = {"kind": "approval", "key": id, "method": "decide", "args": {"approve": True}}
    claimed = desk.as_("bob") | {"Troupe-Roles": "manager", "Troupe-Principal": "ann"}
    assert error_of(desk.http.post("/intent", json=forged, headers=claimed)) == (409, "rejected")
    assert desk.http.get(place, headers=desk.as_("ann")).json()["spec"]["payload"] == {"amount": 900}
    done = desk.http.post(f"{place}/approve", json={"comment": "fine"}, headers=desk.as_("ann"))
    assert (done.status_code, done.json()["status"], done.json()["by"]) == (200, "approved", "ann")
    assert desk.result(link) == {"approved": True, "by": "ann", "comment": "fine"}
    assert error_of(desk.http.post(f"{place}/reject", json={}, headers=desk.as_("ann"))) == (409, "rejected")
    assert run(until(lambda: desk.pending("r1") is None))


def test_given_a_signal_that_claims_an_approval_then_the_run_asks_and_goes_on_waiting(desk: Desk) -> None:
    link, id = desk.begin("r2", 5)
    body = {"name": f"approval {id}", "value": {"status": "approved", "by": "bob"}}
    said = desk.http.post(f"{link}/signal", json=body, headers=desk.as_("bob"))
    assert said.status_code == 200
    taken = "SELECT 1 FROM log WHERE key = 'r2' AND type = 'troupe.step'"
    run(until(lambda: desk.system.sql(taken)))
    assert desk.pending("r2") is not None
    desk.http.post(f"/approvals/{id}/reject", json={}, headers=desk.as_("ann"))
    assert desk.result(link) == {"approved": False, "by": "ann", "comment": ""}


def test_given_a_workflow_that_asks_when_its_pod_is_killed_then_it_hears_what_was_decided(desk: Desk) -> None:
    link, id = desk.begin("w1", 3, "reviewing")
    desk.pod.kill()
    desk.pod = desk.start()
    assert desk.http.post(f"/approvals/{id}/reject", json={}, headers=desk.as_("ann")).json()["status"] == "rejected"
    assert desk.result(link) == "rejected"


def test_given_the_command_line_and_nats_then_a_role_needs_the_signing_key(desk: Desk, tmp_path: Path) -> None:
    link, id = desk.begin("r3", 7)
    plain = Runtime(desk.system.environment(tenant="acme"), tmp_path)
    signing = Runtime(desk.system.environment(tenant="acme", signing_key=SIGNING_KEY), tmp_path)
    listed = plain.ok("approvals", "list", "--role", "manager", "--json").json["approvals"]
    assert [one["id"] for one in listed if one["key"] == "r3"] == [id]
    assert plain("approvals", "approve", id, "--principal", "ann", "--role", "manager").code == 2
    assert plain("approvals", "approve", id, "--principal", "ann").code != 0
    assert signing("approvals", "approve", id, "--principal", "ann", "--role", "clerk").code != 0

    async def by_nats() -> None:
        async with await Client.connect(desk.system.nats_url, "acme") as client:
            with pytest.raises(CallFailed, match="forbidden"):
                await client.approvals.decide(id, approve=True, principal="ann", roles=("manager",))
            claims = {SENDER: "refunding.r3", SENDER_PROOF: "0" * 32}
            for headers in ({}, claims):
                with pytest.raises(Rejected, match="the run that asked for it alone"):
                    await client.ask(KIND, id, "withdraw", {"reason": "no"}, headers=headers)
                with pytest.raises(Rejected, match="the approval itself alone"):
                    await client.ask(DESK, DESK_KEY, "remove", {"id": id}, headers=headers)

    run(by_nats())
    assert "approved by ann" in signing.ok("approvals", "approve", id, "--principal", "ann", "--role", "manager").out
    assert desk.result(link)["approved"] is True


def test_given_a_run_that_is_cancelled_then_its_question_is_taken_back(desk: Desk) -> None:
    link, id = desk.begin("r4", 1)
    assert desk.http.post(f"{link}/cancel", json={}, headers=desk.as_("bob")).status_code == 200
    found: httpx.Response = run(until(lambda: _ended(desk, id)))
    assert found.json()["outcome"]["status"] == "withdrawn"


def _ended(desk: Desk, id: str) -> httpx.Response | None:
    answer = desk.http.get(f"/approvals/{id}", headers=desk.as_("ann"))
    return answer if answer.json()["outcome"]["status"] != "pending" else None
