"""Who is let in, as whom, and what a key's file may look like."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.keys import LOOK_EVERY_S, Keyring, new_key, parse_keys
from gateway.settings import GatewaySettings, from_environment
from runtime.errors import CallFailed, Misconfigured
from tests.gateway.process import GatewayProcess, error_of
from tests.support.system import KINDS, System

SIGNING_KEY = "k" * 40


class Watch:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


def test_given_a_new_key_then_its_line_lets_it_in_and_does_not_hold_it(tmp_path: Path) -> None:
    key, line = new_key("acme", "ann", ("admin",))
    path = tmp_path / "keys"
    path.write_text(f"# people\n\n{line}\n")
    found = Keyring(path).find(key)
    assert found is not None
    assert (found.tenant, found.principal, found.roles) == ("acme", "ann", ("admin",))
    assert key.rpartition("_")[2] not in line
    assert new_key("acme", "ann")[0] != key


def test_given_a_key_that_is_not_in_the_file_then_it_is_not_found(tmp_path: Path) -> None:
    key, line = new_key("acme", "ann")
    path = tmp_path / "keys"
    path.write_text(line)
    keyring = Keyring(path)
    for other in (
        "",
        "troupe",
        key[:-1],
        key + "x",
        new_key("acme", "ann")[0],
        f"troupe_{key.split('_')[1]}_",
        "\udcff",
    ):
        assert keyring.find(other) is None


def test_given_the_file_changes_then_keys_come_and_go_without_a_restart(tmp_path: Path) -> None:
    (ann, line), (bob, other) = new_key("acme", "ann"), new_key("acme", "bob")
    path, watch = tmp_path / "keys", Watch()
    path.write_text(line)
    keyring = Keyring(path, watch)
    fresh = tmp_path / "fresh"
    fresh.write_text(f"[{other}]")
    os.replace(fresh, path)
    assert keyring.find(ann) is not None, "the file is not looked at for every request"
    watch.at += LOOK_EVERY_S
    assert keyring.find(ann) is None
    assert keyring.find(bob) is not None


def test_given_a_slip_in_the_file_then_nobody_is_let_in_until_it_is_mended(tmp_path: Path) -> None:
    key, line = new_key("acme", "ann")
    path, watch = tmp_path / "keys", Watch()
    path.write_text(line)
    keyring = Keyring(path, watch)
    path.write_text("{")
    watch.at += LOOK_EVERY_S
    for _ in range(2):
        with pytest.raises(CallFailed, match="its log says why"):
            keyring.find(key)
        watch.at += LOOK_EVERY_S
    path.unlink()
    watch.at += LOOK_EVERY_S
    with pytest.raises(CallFailed, match="its log says why"):
        keyring.find(key)
    path.write_text(line)
    watch.at += LOOK_EVERY_S
    assert keyring.find(key) is not None


GOOD_LINE = json.loads(new_key("acme", "ann")[1])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "line 1"),
        ('\n\n{"id": "a"}', "line 3: Object missing required field"),
        (json.dumps({**GOOD_LINE, "tenant": "a.b"}), "tenant 'a.b'"),
        (json.dumps({**GOOD_LINE, "hash": "abc"}), "line 1"),
        (json.dumps({**GOOD_LINE, "hash": "ab"}), "not a SHA-256"),
        (json.dumps({**GOOD_LINE, "expires": 1}), "unknown field `expires`"),
        (json.dumps([GOOD_LINE, GOOD_LINE]), "is there twice"),
    ],
    ids=["no JSON", "fields missing", "tenant", "short hash", "no hash", "unknown field", "twice"],
)
def test_given_a_file_that_cannot_be_used_then_the_error_names_the_place(text: str, told: str) -> None:
    with pytest.raises(Misconfigured, match="API keys file") as failure:
        parse_keys(text)
    assert told in str(failure.value)


@pytest.mark.parametrize(
    ("tenant", "principal"), [("a.b", "ann"), ("", "ann"), ("acme", ""), ("acme", "a\nb"), ("acme", " a")]
)
def test_given_names_that_cannot_be_sent_then_no_key_is_made(tenant: str, principal: str) -> None:
    with pytest.raises(ValueError):
        new_key(tenant, principal)


def test_given_no_keys_then_only_loopback_can_be_listened_on(tmp_path: Path) -> None:
    for host in ("127.0.0.1", "::1", "localhost", "127.8.8.8"):
        assert GatewaySettings(host=host).host == host
    for host in ("0.0.0.0", "::", "192.168.1.5", "example.org"):
        with pytest.raises(Misconfigured, match="RUNTIME_API_KEYS_FILE"):
            GatewaySettings(host=host)
        GatewaySettings(host=host, keys_file=tmp_path / "keys")


def test_given_the_environment_then_arguments_come_first_and_slips_are_named() -> None:
    settings = from_environment({"RUNTIME_GATEWAY_PORT": "9000", "RUNTIME_NATS_URL": "nats://a"}, port=1234)
    assert (settings.port, settings.nats_url) == (1234, "nats://a")
    for name, value in (
        ("RUNTIME_GATEWAY_PORT", "many"),
        ("RUNTIME_GATEWAY_PORT", "70000"),
        ("RUNTIME_MAX_BODY_BYTES", "0"),
        ("RUNTIME_SIGNING_KEY", "short"),
    ):
        with pytest.raises(Misconfigured):
            from_environment({name: value})


class Guarded:
    """A gateway with keys of two tenants, in front of a pod that believes its signatures."""

    def __init__(self, gateway: GatewayProcess, keys: dict[str, str]) -> None:
        self.gateway = gateway
        self.keys = keys

    def headers(self, who: str) -> dict[str, str]:
        """The headers of a request by `who`."""
        return {"Authorization": f"Bearer {self.keys[who]}"}


@pytest.fixture(scope="module")
def guarded(shared_system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    ann, bob, eve = new_key("acme", "ann", ("manager", "admin")), new_key("acme", "bob"), new_key("globex", "eve")
    made = {"ann": ann, "bob": bob, "eve": eve}
    path = tmp_path_factory.mktemp("keys") / "keys"
    path.write_text("\n".join(line for _, line in made.values()))
    shared_system.start_pod(KINDS, "tests.gateway.kinds", signing_key=SIGNING_KEY)
    environment = shared_system.environment(api_keys_file=path, signing_key=SIGNING_KEY)
    with GatewayProcess(environment, "--host", "0.0.0.0") as gateway:
        gateway.http.base_url = gateway.url.replace("0.0.0.0", "127.0.0.1")
        yield Guarded(gateway, {who: key for who, (key, _) in made.items()})


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer troupe_00000000_x"},
        {"Authorization": "Basic YTpi"},
        {"X-API-Key": "nonsense"},
        {"X-API-Key": "é".encode()},
    ],
)
@pytest.mark.parametrize("path", ["/capabilities", "/functions", "/stream/s", "/runs/x"])
def test_given_no_valid_key_then_nobody_is_let_in(guarded: Guarded, path: str, headers: dict[str, str]) -> None:
    answer = guarded.gateway.http.get(path, headers=headers)
    assert error_of(answer) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"] == "Bearer"


def test_given_no_key_then_no_command_is_sent(guarded: Guarded) -> None:
    assert error_of(guarded.gateway.intent("counter", "a", "add", {"amount": 1})) == (401, "unauthenticated")
    assert error_of(guarded.gateway.http.post("/runs", json={})) == (401, "unauthenticated")
    assert error_of(guarded.gateway.http.post("/invoke/double", json={"x": 1})) == (401, "unauthenticated")


def test_given_keys_of_two_tenants_then_each_has_actors_streams_and_runs_of_its_own(guarded: Guarded) -> None:
    results = {}
    for who in ("ann", "eve", "bob"):
        answer = guarded.gateway.intent(
            "counter", "shared", "add", {"amount": 1}, session="s", headers=guarded.headers(who)
        )
        results[who] = answer.json()
    assert {who: one["result"] for who, one in results.items()} == {"ann": 1, "eve": 1, "bob": 2}
    run = f"/runs/{results['ann']['run_id']}"
    assert guarded.gateway.http.get(run, headers=guarded.headers("bob")).json()["result"] == 1
    assert guarded.gateway.http.get(run, headers=guarded.headers("eve")).json()["status"] == "pending"
    with guarded.gateway.stream("/stream/s", **guarded.headers("eve")) as events:
        next(events)
        first = next(event for event in events if event.name != "comment")
    assert first.data["tenant"] == "globex"


def test_given_a_dead_letter_then_only_its_own_tenant_sees_it_and_who_settles_it_is_in_the_log(
    guarded: Guarded, shared_system: System
) -> None:
    http, ann, eve = guarded.gateway.http, guarded.headers("ann"), guarded.headers("eve")
    guarded.gateway.intent("counter", "ill", "boom", headers=ann)
    assert http.get("/dead", headers=eve).json() == {"letters": [], "more": False}
    (letter,) = http.get("/dead", headers=ann).json()["letters"]
    place = f"/dead/{letter['id']}"
    for answer in (
        http.get(place, headers=eve),
        http.post(f"{place}/replay", json={}, headers=eve),
        http.delete(place, headers=eve),
    ):
        assert error_of(answer) == (404, "not_found")
    assert error_of(http.get(place)) == (401, "unauthenticated")
    assert http.delete(place, params={"reason": "not needed"}, headers=ann).status_code == 200
    (payload,) = shared_system.sql("SELECT payload FROM log WHERE key = 'ill' AND type = 'troupe.dropped'")[0]
    assert (payload["by"], payload["reason"]) == ("ann", "not needed")


def test_given_headers_that_claim_something_then_only_the_key_counts(guarded: Guarded) -> None:
    claims = {"Troupe-Principal": "root", "Troupe-Roles": "root", "Troupe-Tenant": "globex"}
    claims["X-API-Key"] = guarded.keys["eve"]
    answer = guarded.gateway.intent("note", "signed", "sign", headers={**guarded.headers("ann"), **claims})
    assert answer.json()["result"] == "ann"
    answer = guarded.gateway.intent("note", "signed", "roles", headers={**guarded.headers("ann"), **claims})
    assert answer.json()["result"] == ["admin", "manager"]
    answer = guarded.gateway.intent("note", "signed", "roles", headers={**guarded.headers("bob"), **claims})
    assert answer.json()["result"] == []


def test_given_a_large_body_then_its_signature_holds_too(guarded: Guarded) -> None:
    text = "x" * 1_500_000
    answer = guarded.gateway.intent("note", "large", "write", {"text": text}, headers=guarded.headers("ann"))
    assert answer.json()["result"] == len(text)


def test_given_one_idempotency_key_of_two_people_then_each_has_an_answer_of_its_own(guarded: Guarded) -> None:
    seen = []
    for who in ("ann", "bob", "ann"):
        headers = {**guarded.headers(who), "Idempotency-Key": "same"}
        seen.append(guarded.gateway.intent("counter", "people", "add", {"amount": 1}, headers=headers).json()["result"])
    assert seen == [1, 2, 1]


def test_given_keys_then_health_ready_and_docs_stay_open_and_say_that_a_key_is_needed(guarded: Guarded) -> None:
    for path in ("/health", "/ready", "/docs"):
        assert guarded.gateway.http.get(path).status_code == 200
    assert guarded.gateway.http.get("/openapi.json").json()["security"] == [{"apiKey": []}]


def test_given_no_keys_then_a_page_that_has_the_browser_call_it_by_another_name_is_refused(
    shared_system: System,
) -> None:
    with GatewayProcess(shared_system.environment()) as gateway:
        answer = gateway.http.get("/capabilities", headers={"Host": "evil.example:8080"})
        assert error_of(answer) == (403, "forbidden")
        for host in ("localhost", "127.0.0.1:1", "[::1]:8080", "LOCALHOST:80"):
            assert gateway.http.get("/capabilities", headers={"Host": host}).status_code == 200
