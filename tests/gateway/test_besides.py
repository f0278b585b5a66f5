"""What users of other engines expect besides, by HTTP, NATS, command line and client, on real servers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from gateway.keys import new_key
from runtime.client import Client
from runtime.errors import CallFailed, Rejected
from schemas.tokens import parse_token
from tests.cli.command import Runtime
from tests.gateway.process import GatewayProcess, error_of
from tests.support.patience import PATIENCE_S
from tests.support.system import System, run, until

MODULE = "tests.support.besides"
SIGNING_KEY = "k" * 32


class Place:
    """A system with a gateway, the keys of some people, and a pod that may be killed."""

    def __init__(self, system: System, gateway: GatewayProcess, keys: dict[str, str]) -> None:
        self.system = system
        self.http = gateway.http
        self.keys = keys
        self.pod = self.start()

    def start(self) -> Any:
        return self.system.start_pod(MODULE, signing_key=SIGNING_KEY, suspend_after_s=0.5)

    def replace(self) -> None:
        """Kills the pod, and starts another one."""
        self.pod.kill()
        self.pod = self.start()

    def as_(self, who: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.keys[who]}"}

    def post(self, path: str, body: Any, who: str = "bob") -> Any:
        return self.http.post(path, json=body, headers=self.as_(who), timeout=PATIENCE_S)

    def result(self, link: str) -> Any:
        answer = self.http.get(link, params={"wait_s": 30}, headers=self.as_("bob"), timeout=PATIENCE_S)
        assert "result" in answer.json(), answer.text
        return answer.json()["result"]

    def command_line(self, directory: Path) -> Runtime:
        return Runtime(self.system.environment(tenant="acme", signing_key=SIGNING_KEY), directory)

    async def client(self, tenant: str = "acme") -> Client:
        return await Client.connect(self.system.nats_url, tenant, connect_timeout_s=PATIENCE_S)


@pytest.fixture(scope="module")
def place(shared_system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    made = {"ann": new_key("acme", "ann", ("admin",)), "bob": new_key("acme", "bob", ("clerk",)),
            "eve": new_key("globex", "eve", ("admin",))}  # fmt: skip
    path = tmp_path_factory.mktemp("keys") / "keys"
    path.write_text("\n".join(line for _, line in made.values()))
    environment = shared_system.environment(api_keys_file=path, signing_key=SIGNING_KEY)
    with GatewayProcess(environment) as gateway:
        yield Place(shared_system, gateway, {who: key for who, (key, _) in made.items()})


# -- a signal with a start ---------------------------------------------------------------------------------------------


def test_given_no_run_when_it_is_signalled_with_a_start_by_http_and_cli_then_one_run_has_both_signals(
    place: Place, tmp_path: Path
) -> None:
    wanted = {"kind": "basket", "key": "b1", "name": "add", "value": "book", "args": {"limit": 2}, "id": "s1"}
    first = place.post("/signal-with-start", wanted).json()
    place.replace()
    again = place.post("/signal-with-start", wanted).json()
    assert (again["run_id"], again["started"], first["started"]) == (first["run_id"], True, True)
    changed = wanted | {"value": "pen"}
    assert error_of(place.post("/signal-with-start", changed)) == (409, "id_reused")
    words = ("runs", "signal-with-start", "basket", "b1", "add", '"pen"', "--args", '{"limit": 9}')
    assert place.command_line(tmp_path).ok(*words).out.strip() == first["run_id"]
    assert place.result(first["links"]["self"]) == ["book", "pen", "bob"], "bob's signature holds for the run"
    assert error_of(place.post("/signal-with-start", wanted | {"id": "s2", "kind": "nothing"})) == (404, "unknown_kind")


def test_given_many_signals_with_a_start_at_once_and_a_pod_that_is_killed_then_none_is_lost_or_heard_twice(
    place: Place
) -> None:
    async def scenario() -> None:
        async with await place.client() as client:
            async def send(number: int) -> str:
                run = await client.signal_with_start("basket", "b2", "add", f"{number}", {"limit": 20}, timeout_s=60)
                return run.id

            sending = [asyncio.create_task(send(number)) for number in range(20)]
            await asyncio.wait(sending, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.to_thread(place.replace)
            ids = await asyncio.gather(*sending)
            assert len(set(ids)) == 1
            *heard, _ = await client.run(ids[0]).result(timeout_s=60)
            assert sorted(heard, key=int) == [f"{number}" for number in range(20)]
            another = await client.signal_with_start("basket", "b2", "add", "more", {"limit": 1}, timeout_s=60)
            assert another.id != ids[0], "one that has ended makes way to another"
            assert (await another.result(timeout_s=60))[0] == "more"

    run(scenario())


def test_given_what_cannot_begin_when_it_is_signalled_with_a_start_then_the_error_says_so(place: Place) -> None:
    async def scenario() -> None:
        async with await place.client() as client:
            begun = await client.signal_with_start("once_only", "o", "add", "one")
            assert await begun.result(timeout_s=60) == "one"
            with pytest.raises(Rejected, match="exists already .completed.* choose another id"):
                await client.signal_with_start("once_only", "o", "add", "two")
            with pytest.raises(CallFailed, match="invalid_arguments.*Expected `int`"):
                await client.signal_with_start("basket", "b3", "add", "one", {"limit": "many"})
            with pytest.raises(CallFailed, match="name is 1 to 100 characters"):
                await client.signal_with_start("basket", "b3", "", "one")
            assert (await client.query("basket", "b3", "current"))["run"] == ""

    run(scenario())


# -- tokens ------------------------------------------------------------------------------------------------------------


def lines(path: Path) -> list[str]:
    """What a step has written so far."""
    return path.read_text().splitlines() if path.exists() else []


def begin(place: Place, kind: str, path: Path, key: str) -> str:
    """Starts a run, and gives where its result is."""
    body = {"kind": kind, "key": key, "method": "run", "args": {"path": str(path)}}
    link: str = place.post("/runs", body).json()["links"]["self"]
    return link


def test_given_a_token_when_pods_are_killed_then_it_completes_its_step_once_by_http(
    place: Place, tmp_path: Path
) -> None:
    path = tmp_path / "taxi"
    link = begin(place, "ride", path, "t1")
    token = run(until(lambda: lines(path)))[0]
    place.replace()
    assert error_of(place.post(f"/tokens/{token}/complete", {"value": {"km": 3}}, "eve")) == (403, "forbidden")
    other = str(parse_token(token)._replace(label="0" * 16))
    assert error_of(place.post(f"/tokens/{other}/complete", {"value": 1})) == (404, "not_found")
    assert error_of(place.post("/tokens/none/complete", {"value": 1})) == (400, "bad_request")
    assert place.post(f"/tokens/{token}/complete", {"value": {"km": 3}}).status_code == 200
    place.replace()
    again = place.post(f"/tokens/{token}/complete", {"value": {"km": 3}})
    assert again.status_code == 200, "the same again does nothing"
    assert error_of(place.post(f"/tokens/{token}/complete", {"value": {"km": 4}})) == (409, "rejected")
    assert error_of(place.post(f"/tokens/{token}/fail", {"reason": "late"})) == (409, "rejected")
    assert place.result(link) == {"km": 3}
    assert set(lines(path)) == {token}


def test_given_tokens_when_they_are_used_by_client_command_line_and_nats_then_each_is_checked(
    place: Place, tmp_path: Path
) -> None:
    cli = place.command_line(tmp_path)
    failed, by_cli, ended = tmp_path / "failed", tmp_path / "cli", tmp_path / "ended"
    walked, gone = begin(place, "ride", failed, "t2"), begin(place, "ride", ended, "t4")
    boat = begin(place, "ferry", by_cli, "t3")
    tokens = [run(until(partial(lines, path)))[0] for path in (failed, by_cli, ended)]
    assert "the step is completed" in cli.ok("runs", "complete", tokens[1], "7").out
    assert place.result(boat) == 7
    assert place.post(f"{gone}/terminate", {"reason": "enough"}).status_code == 200

    async def scenario() -> None:
        async with await place.client() as client:
            await client.fail(tokens[0], "no car is free")
            with pytest.raises(Rejected, match="was used already"):
                await client.complete(tokens[0], 1)
            with pytest.raises(CallFailed, match="not_running"):
                await client.complete(tokens[2], 1)
            token = parse_token(tokens[2])
            forged = str(token._replace(proof="0" * 32))
            with pytest.raises(CallFailed, match="not_found.*handed out"):
                await client.complete(forged, 1)
            body = msgspec.json.encode({"run": token.run, "token": tokens[2], "value": 1})
            reply = await client.call("ride", "t4", "$complete", body, id="another")
            assert reply.error is not None
            assert token.command_id in reply.error.message
            begun = client.run(walked.rpartition("/")[2])
            with pytest.raises(CallFailed, match="are tokens'"):
                await begun.signal(f"$token {token.label}", 1)

    run(scenario())
    assert place.result(walked) == "walked, since step 'taxi' failed: no car is free"
    assert cli("runs", "fail", tokens[0], "again").code != 0


def test_given_a_token_that_is_used_while_its_run_is_parked_then_it_holds_once_that_is_replayed(
    place: Place, tmp_path: Path
) -> None:
    path = tmp_path / "raft"
    link = begin(place, "raft", path, "t5")
    token = run(until(lambda: lines(path)))[0]
    who = place.as_("ann")

    def letters() -> Any:
        return place.http.get("/dead", params={"kind": "raft"}, headers=who, timeout=PATIENCE_S).json()["letters"]

    (letter,) = run(until(letters))
    assert error_of(place.post(f"/tokens/{token}/complete", {"value": 5})) == (409, "not_running")
    Path(f"{path}.mended").touch()
    assert place.post(f"/dead/{letter['id']}/replay", {"reason": "mended"}, "ann").status_code == 200
    assert place.post(f"/tokens/{token}/complete", {"value": 5}).status_code == 200
    assert place.result(link) == 5


# -- heartbeats --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["climbing", "hiking"])
def test_given_a_long_step_when_its_pod_is_killed_then_it_resumes_from_its_last_heartbeat(
    place: Place, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "climb"
    link = begin(place, kind, path, f"h-{kind}")
    for step in (0, 1):
        Path(f"{path}.{step}").touch()
    recorded = "SELECT max(payload->>'result') FROM log WHERE payload->>'step' LIKE '$beat%%' AND key = %s"
    run(until(lambda: place.system.sql(recorded, f"h-{kind}") == [("2",)]))
    place.replace()
    for step in (2, 3):
        Path(f"{path}.{step}").touch()
    assert place.result(link) == [2, 4]
    assert lines(path) == ["from 0", "from 2"]


# -- deletion ----------------------------------------------------------------------------------------------------------

LEFT = ("events", "runs", "dead_letters", "timers", "pending", "paused")


def test_given_an_actor_that_is_deleted_then_nothing_of_it_is_left_and_its_key_begins_anew(
    place: Place, tmp_path: Path
) -> None:
    cli = place.command_line(tmp_path)

    def left() -> dict[str, int]:
        actor = place.system.sql("SELECT actor FROM actors WHERE kind = 'diary' AND key = 'ann'")[0][0]
        return {
            table: place.system.sql(f"SELECT count(*) FROM {table} WHERE actor = %s", actor)[0][0] for table in LEFT
        }

    async def write() -> None:
        async with await place.client() as client:
            for number in range(5):
                await client.ask("diary", "ann", "write", {"text": f"secret {number}"}, id=f"w{number}")
            with pytest.raises(CallFailed):
                await client.ask("diary", "ann", "burn", id="burn")
            await client.tell("diary", "ann", "ponder", {"path": str(tmp_path / "never")}, id="pondering")
            running = "SELECT count(*) FROM pending WHERE command_id = 'pondering'"
            await until(lambda: place.system.sql(running) == [(1,)])

    async def begin_anew() -> None:
        async with await place.client() as client:
            assert await client.query("diary", "ann", "pages") == []
            for id, args in (("w0", {"text": "secret 0"}), ("w4", {"text": "secret 4"})):
                with pytest.raises(CallFailed, match="deleted: .*its answer is not kept"):
                    await client.ask("diary", "ann", "write", args, id=id)
            with pytest.raises(CallFailed, match="deleted"):
                await client.ask("diary", "ann", "ponder", {"path": str(tmp_path / "never")}, id="pondering")
            assert await client.query("diary", "ann", "pages") == [], "no late repeat counts in the new life"
            await client.ask("diary", "ann", "write", {"text": "new"}, id="n0")
            assert await client.query("diary", "ann", "pages") == ["new"]

    run(write())
    where = "/actors/diary/ann"
    assert error_of(place.http.delete(where, headers=place.as_("bob"))) == (403, "forbidden")
    assert error_of(place.http.delete(where, headers=place.as_("eve"))) == (409, "rejected"), "another tenant's is none"
    refused = place.http.delete(where, headers=place.as_("ann"))
    assert error_of(refused) == (409, "rejected")
    assert "ponder (command pondering)" in refused.text
    gone = place.http.delete(where, params={"force": "true", "reason": "she asked"}, headers=place.as_("ann"))
    assert gone.status_code == 200, gone.text
    assert gone.json()["ended"] == 1
    assert left() == dict.fromkeys(LEFT, 0) | {"events": 1}
    for table, column in (("inbox", "result"), ("snapshots", "state")):
        assert place.system.sql(f"SELECT count(*) FROM {table} WHERE {column} LIKE '%secret%'") == [(0,)]
    place.replace()
    ((type_, payload),) = place.system.sql("SELECT type, payload FROM log WHERE kind = 'diary' AND key = 'ann'")
    assert (type_, payload) == ("troupe.deleted", {"by": "ann", "reason": "she asked"})
    run(begin_anew())
    place.replace()
    assert cli.ok("actors", "delete", "diary", "ann", "--json").json["events"] >= 2
    assert cli("actors", "delete", "diary", "nobody").code != 0

    async def third_life() -> None:
        async with await place.client() as client:
            assert await client.query("diary", "ann", "pages") == []

    run(third_life())


@pytest.mark.parametrize("key", ["a/b", "a.b", "*", ">", "a b", "é🎉", "%2F", "a/../b"])
def test_given_a_key_that_a_path_would_change_when_its_actor_is_deleted_over_http_then_that_one_is(
    place: Place, key: str
) -> None:
    async def write() -> None:
        async with await place.client() as client:
            await client.ask("diary", key, "write", {"text": "secret"})

    run(write())
    gone = place.http.delete(f"/actors/diary/{quote(key, safe='')}", headers=place.as_("ann"))
    assert gone.status_code == 200, gone.text
    assert place.system.sql(f"SELECT type FROM log WHERE kind = 'diary' AND key = '{key}'") == [("troupe.deleted",)]


# -- large things ------------------------------------------------------------------------------------------------------

SIZE = 3 * 1024 * 1024
"""Bytes, of which a message of the broker's has one million."""


def test_given_large_results_arguments_and_signals_then_they_arrive_whole_and_outlive_a_pod(place: Place) -> None:
    async def scenario() -> None:
        async with await place.client() as client:
            begun = await client.submit("heavy", "h1", "run", {"size": SIZE}, timeout_s=60)
            asked = "SELECT count(*) FROM log WHERE payload->>'step' = '$ask echoed.run' AND key = 'h1'"
            await until(lambda: place.system.sql(asked) == [(1,)])
            await asyncio.to_thread(place.replace)
            await begun.signal("more", "y" * SIZE, timeout_s=60)
            result = await client.run(begun.id).result(timeout_s=60)
            assert result == {"text": "x" * SIZE, "same": True, "said": SIZE, "failed": result["failed"]}
            assert "has no JSON form" in result["failed"]
            assert await client.ask("echoed", "k", "run", {"text": "z" * SIZE}, timeout_s=60) == "z" * SIZE
            described = await begun.describe()
            names = [moment.name for moment in described.timeline]
            assert names.count("make") == names.count("wrong") == 1
            link = f"/runs/{begun.id}"
            over_http = await asyncio.to_thread(place.result, link)
            assert over_http["text"] == "x" * SIZE

    run(scenario())
