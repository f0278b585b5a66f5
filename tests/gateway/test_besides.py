"""What users of other engines expect besides, by HTTP, NATS, command line and client, on real servers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.keys import new_key
from runtime.client import Client
from runtime.errors import CallFailed, Rejected
from tests.cli.command import Runtime
from tests.gateway.process import GatewayProcess, error_of
from tests.support.patience import PATIENCE_S
from tests.support.system import System, run

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
