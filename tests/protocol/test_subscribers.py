"""Users' FastStream subscribers beside the actors, and the AsyncAPI document of it all."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from actors import subscribers
from actors.asyncapi import document
from runtime.errors import Misconfigured
from runtime.modules import load_modules
from tests.support import kinds
from tests.support.patience import PATIENCE_S
from tests.support.system import ROOT, System, until

pytestmark = pytest.mark.anyio

SHOP = "tests.protocol.shop"


@pytest.fixture
def shop(running: System, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The user's module, loaded anew."""
    monkeypatch.setenv("RUNTIME_NATS_URL", running.nats_url)
    sys.modules.pop(SHOP, None)
    [module] = load_modules([SHOP], ROOT)
    yield module
    sys.modules.pop(SHOP, None)


async def test_given_a_users_router_then_its_handlers_get_their_structs_and_the_client(
    running: System, shop: ModuleType
) -> None:
    stop, up = asyncio.Event(), asyncio.Event()
    task = asyncio.ensure_future(subscribers.serve(running.nats_url, [shop], stop, ready=up.set))
    await asyncio.wait_for(up.wait(), PATIENCE_S)
    async with running.client() as client:
        await client.connection.publish("shop.orders", b'{"customer":"ann","lines":[{"amount":2},{"amount":3}]}')

        async def ordered() -> bool:
            return bool(await client.query("counter", "ann", "value") == 5)

        await until(ordered)
    stop.set()
    await task


def test_given_a_module_without_subscribers_then_it_is_refused_by_name() -> None:
    with pytest.raises(Misconfigured, match=r"'tests\.support\.kinds' defines no NatsRouter"):
        subscribers.brokers_of("nats://127.0.0.1:1", [kinds])


def test_given_kinds_and_subscribers_then_the_document_has_their_channels_and_every_reference_leads_somewhere(
    shop: ModuleType,
) -> None:
    made = document([kinds, shop])
    assert made["asyncapi"] == "3.0.0"
    addresses = {channel["address"] for channel in made["channels"].values()}
    assert {
        "cmd.{tenant}.counter.{key}.add",
        "call.{tenant}.counter.{key}.value",
        "cmd.{tenant}.priced.{key}.run",
        "intent.{tenant}.{session}",
        "ev.{tenant}.{session}",
        "shop.orders",
        "shop.parcels",
    } <= addresses
    assert "cmd.{tenant}.counter.{key}.value" not in addresses  # a query changes nothing
    schemas = made["components"]["schemas"]
    assert schemas["Order"]["properties"]["lines"]["items"] == {"$ref": "#/components/schemas/Line"}
    assert schemas["Parcel"]["properties"]["weight"]["type"] == "number"
    arguments = made["components"]["messages"]["counter.add.arguments"]["payload"]
    assert follow(made, arguments["$ref"])["properties"] == {"amount": {"type": "integer"}}
    found = list(references(made))
    assert len(found) > 50
    for reference in found:
        follow(made, reference)
    assert "x-troupe-schema" not in json.dumps(made)


def test_given_running_pods_and_no_module_then_the_command_line_describes_what_they_serve(running: System) -> None:
    made = subprocess.run(
        [sys.executable, "-m", "actors.asyncapi"], env=running.environment(), cwd=ROOT, capture_output=True, check=True
    )
    assert "cmd.counter.add" in json.loads(made.stdout)["channels"]


def test_given_a_module_that_does_not_exist_then_the_command_line_says_so() -> None:
    made = subprocess.run(
        [sys.executable, "-m", "actors.asyncapi", "nowhere"], env=os.environ, cwd=ROOT, capture_output=True, check=False
    )
    assert made.returncode == 2
    assert b"there is no module 'nowhere'" in made.stderr


def references(value: Any) -> Iterator[str]:
    """Every reference of a document."""
    if isinstance(value, dict):
        for name, item in value.items():
            if name == "$ref":
                yield item
            else:
                yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def follow(made: dict[str, Any], reference: str) -> Any:
    """What a reference leads to; raises KeyError when that is nothing."""
    found: Any = made
    for part in reference.removeprefix("#/").split("/"):
        found = found[part.replace("~1", "/").replace("~0", "~")]
    return found
