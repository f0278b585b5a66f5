"""What Postgres keeps of a session, as lines: GET /log/{session}."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Annotated

import msgspec
from litestar import get
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Parameter
from litestar.response import Stream

from gateway.context import gateway_of
from gateway.errors import ErrorDocument
from gateway.responses import AnyRequest
from runtime.client import Client
from runtime.errors import CallFailed
from schemas.wire import Fact

PAGE = 500
MEDIA = "application/x-ndjson"

_encode = msgspec.json.Encoder().encode


class _Page(msgspec.Struct):
    """What the service `session` answers."""

    facts: list[Fact]
    more: bool


def _error(text: str) -> ResponseSpec:
    return ResponseSpec(ErrorDocument, description=text, generate_examples=False)


@get(
    "/log/{session:path}",
    media_type=MEDIA,
    responses={400: _error("The place is none"), 503: _error("Not now; see Retry-After")},
    summary="Read a session's log",
)
async def get_log(
    request: AnyRequest,
    session: str,
    since: Annotated[
        list[str] | None,
        Parameter(description="Only what is behind these positions, as facts have them: one for each lane"),
    ] = None,
) -> Stream:
    """The session's events from the log, those of all actors that it involved, as JSON lines (`Fact`).

    Events of one lane come in their order, lane after lane; `at` says when each was committed. The last position of
    each lane, given as `since`, asks for what has happened since.
    """
    client, _ = await gateway_of(request).admit(request)
    name = session.removeprefix("/")
    after = dict(_place(position) for position in since or ())
    first = await _page(client, name, after)

    async def lines() -> AsyncGenerator[bytes, None]:
        page = first
        while True:
            yield b"".join(_encode(fact) + b"\n" for fact in page.facts)
            if not page.more:
                return
            after.update(_place(fact.position) for fact in page.facts if fact.position is not None)
            page = await _page(client, name, after)

    return Stream(lines(), media_type=MEDIA)


async def _page(client: Client, session: str, after: dict[str, int]) -> _Page:
    question = {"tenant": client.tenant, "session": session, "after": after, "limit": PAGE}
    page: _Page = await client.service("session", question, type=_Page)
    return page


def _place(position: str) -> tuple[str, int]:
    lane, _, number = position.partition(":")
    if not (lane.isascii() and lane.isdigit() and number.isascii() and number.isdigit() and len(position) < 30):
        raise CallFailed("bad_request", f"{position[:40]!r} is no position: send `position` of a fact", path="$.since")
    return lane, int(number)
