"""Tools of an OpenAPI document, against a real HTTP service that writes down what it was asked."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvicorn

from actors.agents import Agent, ToolContext
from actors.agents.openapi import OpenAPI
from actors.agents.openapi_document import BadDocument
from actors.agents.remote import ToolFailed
from actors.agents.tools import BadCall
from actors.models.calling import Caller
from actors.models.current import using
from actors.models.fleet import Fleet
from actors.sessions.session import Answer, Task, session
from runtime import Retry, RetryPolicy
from runtime.testing import World
from tests.agents.scripted import Scripted

CONTEXT = ToolContext("clerk", "s1", "r1", "the-key")

DOCUMENT: dict[str, Any] = {
    "openapi": "3.0.3",
    "info": {"title": "shop", "version": "1"},
    "security": [{"key": []}],
    "paths": {
        "/orders/{id}": {
            "parameters": [{"$ref": "#/components/parameters/Id"}],
            "get": {
                "operationId": "getOrder",
                "summary": "An order.",
                "parameters": [
                    {"name": "fields", "in": "query", "schema": {"type": "array", "items": {"type": "string"}}},
                    {"name": "id", "in": "query", "schema": {"type": "integer"}},
                    {"name": "X-Trace", "in": "header", "schema": {"type": "string"}},
                    {"name": "crumb", "in": "cookie", "schema": {"type": "string"}},
                ],
            },
            "post": {
                "operationId": "refundOrder",
                "security": [{"login": []}],
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Refund"}}},
                },
            },
        },
        "/picture": {"get": {"operationId": "picture", "security": []}},
        "/away": {"get": {"operationId": "away", "security": [{"other": []}]}},
    },
    "components": {
        "parameters": {"Id": {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}},
        "securitySchemes": {
            "key": {"type": "apiKey", "in": "header", "name": "X-Key"},
            "login": {"type": "http", "scheme": "basic"},
            "other": {"type": "http", "scheme": "bearer"},
        },
        "schemas": {
            "Refund": {
                "type": "object",
                "required": ["amount"],
                "properties": {
                    "amount": {"type": "number", "minimum": 0, "exclusiveMinimum": True},
                    "why": {"type": "string", "nullable": True},
                    "parts": {"type": "array", "items": {"$ref": "#/components/schemas/Refund"}},
                },
            }
        },
    },
}


class Service:
    """Answers `{"ok": true}`, or what it was told to, and keeps the requests."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.answers: list[tuple[int, bytes, dict[str, str]]] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(self._serve, interface="asgi3", log_level="critical", lifespan="off")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()

    async def _serve(self, scope: Any, receive: Any, send: Any) -> None:
        body = (await receive()).get("body", b"")
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        target = scope["raw_path"].decode() + ("?" + scope["query_string"].decode() if scope["query_string"] else "")
        self.asked.append({"method": scope["method"], "target": target, "headers": headers, "body": body})
        ok = (200, b'{"ok": true}', {"content-type": "application/json"})
        status, answer, given = self.answers.pop(0) if self.answers else ok
        pairs = [(name.encode(), value.encode()) for name, value in given.items()]
        await send({"type": "http.response.start", "status": status, "headers": pairs})
        await send({"type": "http.response.body", "body": answer})


@pytest.fixture(scope="module")
def running() -> Iterator[Service]:
    service = Service()
    yield service
    service.close()


@pytest.fixture
def service(running: Service, monkeypatch: pytest.MonkeyPatch) -> Service:
    monkeypatch.setenv("RUNTIME_SECRET_SHOP", "a-long-key")
    running.asked.clear()
    running.answers.clear()
    return running


def shop(service: Service, path: Path, *, document: dict[str, Any] = DOCUMENT, **options: Any) -> OpenAPI:
    file = path / "shop.yaml"
    file.write_bytes(msgspec.yaml.encode(document | {"servers": [{"url": service.url + "/v1/"}]}))
    return OpenAPI("shop", file, **{"auth": {"key": "${shop}", "login": "ann:${shop}"}} | options)


def called(api: OpenAPI, name: str, **given: Any) -> str:
    return asyncio.run(api.call(name, given, CONTEXT))


def test_given_a_document_when_its_operations_are_listed_then_as_tools_whose_schemas_stand_alone(
    service: Service, tmp_path: Path
) -> None:
    specs = {one.name: one for one in asyncio.run(shop(service, tmp_path).specs())}
    assert list(specs) == ["shop__getOrder", "shop__refundOrder", "shop__picture", "shop__away"]
    assert specs["shop__getOrder"].description == "An order."
    assert list(specs["shop__getOrder"].parameters["properties"]) == ["id", "fields", "id_query", "X-Trace", "crumb"]
    refund = specs["shop__refundOrder"].parameters
    assert refund["required"] == ["id", "body"]
    assert refund["properties"]["body"] == {"$ref": "#/$defs/Refund"}
    assert refund["$defs"]["Refund"]["properties"] == {
        "amount": {"type": "number", "exclusiveMinimum": 0},
        "why": {"type": ["string", "null"]},
        "parts": {"type": "array", "items": {"$ref": "#/$defs/Refund"}},
    }
    assert not service.asked


def test_given_arguments_of_all_places_when_an_operation_is_called_then_each_is_where_it_belongs(
    service: Service, tmp_path: Path
) -> None:
    given = {"id": "../a/b?c", "fields": ["x", "y z"], "id_query": 7, "X-Trace": "t1", "crumb": "c 1"}
    assert called(shop(service, tmp_path), "shop__getOrder", **given) == '{"ok": true}'
    asked = service.asked[0]
    assert asked["target"] == "/v1/orders/..%2Fa%2Fb%3Fc?fields=x&fields=y+z&id=7"
    headers = asked["headers"]
    assert (headers["x-trace"], headers["cookie"], headers["x-key"]) == ("t1", "crumb=c%201", "a-long-key")
    assert headers["idempotency-key"] == "the-key"


def test_given_a_body_when_an_operation_is_called_then_it_is_sent_and_signed_as_the_document_says(
    service: Service, tmp_path: Path
) -> None:
    called(shop(service, tmp_path), "shop__refundOrder", id="A", body={"amount": 2.5, "why": None})
    asked = service.asked[0]
    assert (asked["method"], json.loads(asked["body"])) == ("POST", {"amount": 2.5, "why": None})
    assert asked["headers"]["authorization"] == "Basic YW5uOmEtbG9uZy1rZXk="
    assert asked["headers"]["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("shop__getOrder", {}, "'id' is a required property"),
        ("shop__getOrder", {"id": ".."}, "cannot be '..'"),
        ("shop__getOrder", {"id": "A", "X-Trace": "a\r\nHost: evil"}, "without line breaks"),
        ("shop__refundOrder", {"id": "A", "body": {"amount": 0}}, r"or equal to the minimum of 0, at \$\.body"),
        ("shop__nothing", {}, "there is no tool 'shop__nothing'; shop has shop__away"),
    ],
)
def test_given_arguments_that_do_not_fit_when_an_operation_is_called_then_the_model_is_told_and_nothing_is_sent(
    service: Service, tmp_path: Path, name: str, given: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadCall, match=said):
        called(shop(service, tmp_path), name, **given)
    assert not service.asked


def test_given_answers_of_all_sorts_when_they_come_then_a_model_can_be_told_each(
    service: Service, tmp_path: Path
) -> None:
    api = shop(service, tmp_path)
    service.answers += [
        (200, b"\x89PNG" * 3, {"content-type": "image/png"}),
        (204, b"", {}),
        (200, b"x" * 3_000_000, {"content-type": "text/plain"}),
        (404, b'{"error": "no such picture"}', {"content-type": "application/json", "set-cookie": "a=b"}),
        (302, b"", {"location": "http://169.254.169.254/secrets"}),
        (429, b"slow down", {"retry-after": "7"}),
    ]
    assert called(api, "shop__picture") == "[image/png, 12 bytes]"
    assert called(api, "shop__picture") == "done (204)"
    assert called(api, "shop__picture").endswith("[cut: 1000001 bytes in all]")
    with pytest.raises(ToolFailed, match="GET /picture answered 404: {.error.: .no such picture.}"):
        called(api, "shop__picture")
    with pytest.raises(ToolFailed, match="answered 302, to be asked at http://169"):
        called(api, "shop__picture")
    with pytest.raises(Retry, match="answered 429: slow down") as caught:
        called(api, "shop__picture")
    assert caught.value.after_s == 7
    assert len(service.asked) == 6
    assert not any("cookie" in asked["headers"] for asked in service.asked)


def test_given_no_key_for_what_an_operation_wants_when_it_is_called_then_it_says_what_to_give(
    service: Service, tmp_path: Path
) -> None:
    with pytest.raises(ToolFailed, match=r"shop__away wants other: give it in auth=\{…\} of shop"):
        called(shop(service, tmp_path), "shop__away")


def test_given_a_service_that_fails_once_when_an_agent_calls_it_then_it_is_tried_again_under_the_same_key(
    service: Service, tmp_path: Path
) -> None:
    service.answers += [(503, b"", {"retry-after": "0"})]
    model = Scripted()
    model.calls("shop__getOrder", id="A")
    model.says("ok")
    api = shop(service, tmp_path, only=("getOrder",), retry=RetryPolicy(max_attempts=2))
    agent = Agent("clerk", tools=[api])
    with using(Caller(Fleet(), lambda _: model)):
        answer = World(session, agent).ask(agent, "r1", "run", Task("", 0, "Go"), type=Answer)
    assert answer.messages[1].content == '{"ok": true}'
    assert [tool.name for tool in model.asked[0].tools] == ["shop__getOrder"]
    assert len({asked["headers"]["idempotency-key"] for asked in service.asked}) == 1
    assert len(service.asked) == 2


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"swagger": "2.0"}, "no OpenAPI document of version 3.0 or 3.1: it says 2.0"),
        ({"openapi": "3.1.0", "paths": {"/a": {"$ref": "other.yaml#/a"}}}, "only what is in the document is looked at"),
        ({"openapi": "3.1.0", "paths": {"@evil.example/": {"get": {}}}}, "a path begins with a slash"),
        (
            {"openapi": "3.1.0", "paths": {"/a": {"get": {"parameters": [{"$ref": "#/nowhere"}]}}}},
            "'#/nowhere', which is not in it",
        ),
        ({"openapi": "3.1.0", "paths": {"/a": {"get": {"parameters": ["id"]}}}}, "otherwise than OpenAPI does"),
        (
            {"openapi": "3.1.0", "paths": {f"/{one}": {"get": {"operationId": one}} for one in ("a.b", "a_b")}},
            r"could not tell apart: a\.b, a_b",
        ),
    ],
)
def test_given_what_is_no_document_when_its_tools_are_wanted_then_the_error_says_why(
    service: Service, tmp_path: Path, document: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadDocument, match=said):
        asyncio.run(shop(service, tmp_path, document=document).specs())


def test_given_a_document_from_a_url_when_its_server_is_elsewhere_then_it_is_trusted_by_name_alone(
    service: Service,
) -> None:
    elsewhere = DOCUMENT | {"servers": [{"url": "http://169.254.169.254/latest"}]}
    service.answers += [(200, json.dumps(elsewhere).encode(), {"content-type": "application/json"})] * 2
    source = service.url + "/openapi.json"
    with pytest.raises(BadDocument, match=r"of another origin: trust it by servers="):
        asyncio.run(OpenAPI("shop", source).specs())
    api = OpenAPI("shop", source, servers=[service.url])
    assert called(api, "shop__picture") == '{"ok": true}'
    assert service.asked[-1]["target"] == "/picture"


def test_given_long_names_when_operations_are_listed_then_a_model_can_tell_them_apart(
    service: Service, tmp_path: Path
) -> None:
    ids = ["x" * 70 + end for end in ("_get", "_delete")]
    document = DOCUMENT | {"paths": {f"/{one}": {"get": {"operationId": one}} for one in ids}}
    names = [one.name for one in asyncio.run(shop(service, tmp_path, document=document).specs())]
    assert len(set(names)) == 2
    assert max(map(len, names)) == 64


def test_given_servers_that_are_none_when_a_document_is_read_then_the_error_says_so(tmp_path: Path) -> None:
    path = tmp_path / "odd.json"
    path.write_text(json.dumps(DOCUMENT | {"servers": ["x"]}))
    with pytest.raises(BadDocument, match="has servers that cannot be read"):
        asyncio.run(OpenAPI("shop", path).specs())
