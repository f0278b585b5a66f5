"""What starts commands again and again: /schedules (actors/schedules.py)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from litestar import Response, delete, get, post, put
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Parameter

from gateway.context import decoded, gateway_of, json_body, travelling
from gateway.errors import ErrorDocument
from gateway.responses import AnyRequest, Json
from runtime.client.schedules import Page, Schedules
from schemas.schedules import Description, Overlap, Spec

MAX_LIMIT = 1000
TIMEOUT_S = 10.0


class ScheduleBody(Spec, frozen=True, forbid_unknown_fields=True):
    """What is started and when; times are Unix seconds. `replace` changes a schedule that exists."""

    replace: bool = False


class NoteBody(msgspec.Struct, forbid_unknown_fields=True):
    """Why; kept in the log. `id` makes a repeat harmless."""

    note: str = ""
    id: str | None = None


class TriggerBody(msgspec.Struct, forbid_unknown_fields=True):
    """What happens if a run has not ended. `id` makes a repeat harmless."""

    overlap: Overlap = "allow"
    id: str | None = None


class BackfillBody(msgspec.Struct, forbid_unknown_fields=True):
    """A range of the past in Unix seconds. `id` makes a repeat harmless."""

    start: float
    end: float
    overlap: Literal["wait", "allow"] = "wait"
    id: str | None = None


class Triggered(msgspec.Struct):
    """The id of the run's command; None when none was started."""

    run: str | None


_encode = msgspec.json.Encoder().encode
_decode_schedule: msgspec.json.Decoder[ScheduleBody] = msgspec.json.Decoder(ScheduleBody)
_decode_note: msgspec.json.Decoder[NoteBody] = msgspec.json.Decoder(NoteBody)
_decode_trigger: msgspec.json.Decoder[TriggerBody] = msgspec.json.Decoder(TriggerBody)
_decode_backfill: msgspec.json.Decoder[BackfillBody] = msgspec.json.Decoder(BackfillBody)


def _answers(type: Any, description: str) -> dict[int, ResponseSpec]:
    def error(text: str) -> ResponseSpec:
        return ResponseSpec(ErrorDocument, description=text, generate_examples=False)

    return {
        200: ResponseSpec(type, description=description, generate_examples=False),
        404: error("No such schedule, or no pod serves any"),
        409: error("It cannot be"),
        503: error("Not now; see Retry-After"),
    }


_DESCRIBED = _answers(Description, "The schedule")


@get("/schedules", responses=_answers(Page, "Schedules by name"), summary="Which schedules there are")
async def get_schedules(
    request: AnyRequest,
    after: Annotated[str, Parameter(description="Begin behind this name: the next page")] = "",
    limit: Annotated[int, Parameter(ge=1, le=MAX_LIMIT)] = 100,
) -> Response[Any]:
    """The tenant's schedules by name; `after` in the answer is where the next page begins."""
    schedules = await _schedules(request)
    return Json(_encode(await schedules.list(after=after, limit=limit, timeout_s=TIMEOUT_S)))


@get("/schedules/{name:str}", responses=_DESCRIBED, summary="One schedule")
async def get_schedule(request: AnyRequest, name: str) -> Response[Any]:
    """What it starts and when, what runs and ran last."""
    return await _described(await _schedules(request), name)


@put("/schedules/{name:str}", status_code=200, responses=_DESCRIBED, summary="Make or change a schedule")
async def put_schedule(request: AnyRequest, name: str) -> Response[Any]:
    """Makes a schedule; the same one again does nothing. Another one of that name is changed with `replace`."""
    schedules = await _schedules(request)
    body = decoded(await json_body(request), _decode_schedule)
    given = {field: getattr(body, field) for field in Spec.__struct_fields__}
    await schedules.create(name, Spec(**given), replace=body.replace, timeout_s=TIMEOUT_S)
    return await _described(schedules, name)


@delete("/schedules/{name:str}", status_code=200, responses=_answers(None, "It is gone"), summary="Delete a schedule")
async def delete_schedule(request: AnyRequest, name: str) -> Response[Any]:
    """Ends the schedule; what runs goes on. One that is not there is left so."""
    await (await _schedules(request)).delete(name, timeout_s=TIMEOUT_S)
    return Json(b"null")


@post("/schedules/{name:str}/pause", status_code=200, responses=_DESCRIBED, summary="Pause a schedule")
async def pause_schedule(request: AnyRequest, name: str) -> Response[Any]:
    """Stops it until it is resumed; what is due meanwhile is not made up for."""
    schedules = await _schedules(request)
    body = await _body(request, _decode_note, NoteBody())
    await schedules.pause(name, body.note, id=body.id, timeout_s=TIMEOUT_S)
    return await _described(schedules, name)


@post("/schedules/{name:str}/resume", status_code=200, responses=_DESCRIBED, summary="Resume a schedule")
async def resume_schedule(request: AnyRequest, name: str) -> Response[Any]:
    """Goes on with its next due time."""
    schedules = await _schedules(request)
    body = await _body(request, _decode_note, NoteBody())
    await schedules.resume(name, body.note, id=body.id, timeout_s=TIMEOUT_S)
    return await _described(schedules, name)


@post(
    "/schedules/{name:str}/trigger",
    status_code=200,
    responses=_answers(Triggered, "The run"),
    summary="Start a run of a schedule now",
)
async def trigger_schedule(request: AnyRequest, name: str) -> Response[Any]:
    """Starts a run whenever the schedule is due, also of one that is paused."""
    schedules = await _schedules(request)
    body = await _body(request, _decode_trigger, TriggerBody())
    run = await schedules.trigger(name, body.overlap, id=body.id, timeout_s=TIMEOUT_S)
    return Json(_encode(Triggered(run)))


@post("/schedules/{name:str}/backfill", status_code=200, responses=_DESCRIBED, summary="Start past runs")
async def backfill_schedule(request: AnyRequest, name: str) -> Response[Any]:
    """Starts a run for each due time from `start` to `end`, one after the other, or with `allow` side by side."""
    schedules = await _schedules(request)
    body = decoded(await json_body(request), _decode_backfill)
    await schedules.backfill(name, body.start, body.end, body.overlap, id=body.id, timeout_s=TIMEOUT_S)
    return await _described(schedules, name)


ROUTES = [
    get_schedules,
    get_schedule,
    put_schedule,
    delete_schedule,
    pause_schedule,
    resume_schedule,
    trigger_schedule,
    backfill_schedule,
]


async def _schedules(request: AnyRequest) -> Schedules:
    client, caller = await gateway_of(request).admit(request)
    return client.schedules.by(caller.principal, caller.roles, travelling(request))


async def _described(schedules: Schedules, name: str) -> Response[Any]:
    return Json(_encode(await schedules.describe(name, timeout_s=TIMEOUT_S)))


async def _body(request: AnyRequest, decoder: msgspec.json.Decoder[Any], empty: Any) -> Any:
    body = await json_body(request)
    return decoded(body, decoder) if body.strip() else empty
