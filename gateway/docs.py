"""What the gateway offers: GET /openapi.json for programs, GET /docs for people, without scripts.

Litestar derives the document from the routes; the bodies, which routes decode themselves, are added from their Structs.
"""

from __future__ import annotations

import html
import json
from typing import Any

import msgspec
from litestar import Litestar, MediaType, Response, get

from gateway.agui import RunAgentInput
from gateway.context import IDEMPOTENCY_KEY, gateway_of
from gateway.controls import CancelBody, ForkBody, RestartBody, SignalBody, UpdateBody
from gateway.dead import Resolution
from gateway.intent import IntentBody, RunBody
from gateway.responses import AnyRequest, Json
from gateway.schedules import BackfillBody, NoteBody, ScheduleBody, TriggerBody

BODIES: dict[str, type[msgspec.Struct] | None] = {
    "/intent": IntentBody,
    "/runs": RunBody,
    "/invoke/{function}": None,
    "/runs/{run_id}/signal": SignalBody,
    "/runs/{run_id}/update": UpdateBody,
    "/runs/{run_id}/cancel": CancelBody,
    "/runs/{run_id}/terminate": CancelBody,
    "/runs/{run_id}/retry": CancelBody,
    "/runs/{run_id}/fork": ForkBody,
    "/runs/{run_id}/restart": RestartBody,
    "/dead/{letter}/replay": Resolution,
    "/schedules/{name}": ScheduleBody,
    "/schedules/{name}/pause": NoteBody,
    "/schedules/{name}/resume": NoteBody,
    "/schedules/{name}/trigger": TriggerBody,
    "/schedules/{name}/backfill": BackfillBody,
    "/agui": RunAgentInput,
    "/agui/{agent}": RunAgentInput,
}
COMMANDS = ("/intent", "/runs", "/invoke/{function}")
_SAID = {"threadId": "s1", "runId": "r1", "messages": [{"id": "m1", "role": "user", "content": "Where is A-7?"}]}
EXAMPLES = {
    "/intent": {"kind": "account", "key": "alice", "method": "deposit", "args": {"amount": 30}},
    "/runs": {"kind": "account", "key": "alice", "method": "deposit", "args": {"amount": 30}},
    "/invoke/{function}": {"x": 21},
    "/runs/{run_id}/signal": {"name": "approved", "value": True},
    "/runs/{run_id}/update": {"name": "limit", "value": 100},
    "/runs/{run_id}/cancel": {"reason": "not wanted any more"},
    "/runs/{run_id}/terminate": {"reason": "stuck"},
    "/runs/{run_id}/retry": {"reason": "mended in 2.1"},
    "/runs/{run_id}/fork": {"at_step": 4},
    "/runs/{run_id}/restart": {"from_step": 4, "reason": "mended in 2.1"},
    "/dead/{letter}/replay": {"reason": "mended in 2.1"},
    "/schedules/{name}": {"kind": "report", "cron": "0 3 * * *", "timezone": "Europe/Berlin"},
    "/schedules/{name}/pause": {"note": "holidays"},
    "/schedules/{name}/resume": {"note": "back again"},
    "/schedules/{name}/trigger": {"overlap": "allow"},
    "/schedules/{name}/backfill": {"start": 1_767_225_600.0, "end": 1_767_398_400.0},
    "/agui": _SAID,
    "/agui/{agent}": _SAID,
}
_REF = "#/components/schemas/{name}"


def document(app: Litestar, *, keys: bool) -> dict[str, Any]:
    """The OpenAPI document as plain values. `keys` says that requests need an API key."""
    schema: dict[str, Any] = app.openapi_schema.to_schema()
    structs = [body for body in BODIES.values() if body is not None]
    _, found = msgspec.json.schema_components(structs, ref_template=_REF)
    components = schema.setdefault("components", {})
    components.setdefault("schemas", {}).update(found)
    for path, body in BODIES.items():
        methods = schema["paths"][path]
        operation = methods.get("post") or methods["put"]
        described = {} if body is None else {"$ref": _REF.format(name=body.__name__)}
        media = {"schema": described, "example": EXAMPLES[path]}
        operation["requestBody"] = {"required": True, "content": {"application/json": media}}
    for path in COMMANDS:
        schema["paths"][path]["post"].setdefault("parameters", []).append(
            {
                "name": IDEMPOTENCY_KEY.decode().title(),
                "in": "header",
                "required": False,
                "description": "A repeat with the same key is answered, not done again",
                "schema": {"type": "string", "maxLength": 128},
            }
        )
    if keys:
        components["securitySchemes"] = {"apiKey": {"type": "http", "scheme": "bearer"}}
        schema["security"] = [{"apiKey": []}]
    return schema


@get("/openapi.json", include_in_schema=False)
async def get_openapi(request: AnyRequest) -> Response[Any]:
    """The OpenAPI document."""
    return Json(msgspec.json.encode(_cached(request)))


@get("/docs", include_in_schema=False)
async def get_docs(request: AnyRequest) -> Response[Any]:
    """The same for people."""
    headers = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
    return Response(page(_cached(request)), media_type=MediaType.HTML, headers=headers)


def _cached(request: AnyRequest) -> dict[str, Any]:
    state = request.app.state
    if "document" not in state:
        state.document = document(request.app, keys=gateway_of(request).settings.keys_file is not None)
    found: dict[str, Any] = state.document
    return found


def page(schema: dict[str, Any]) -> str:
    """A document as HTML."""
    info = schema["info"]
    operations = "".join(
        _operation(method, path, operation, schema)
        for path, methods in sorted(schema["paths"].items())
        for method, operation in methods.items()
    )
    models = "".join(
        f'<details id="{_text(name)}"><summary><code>{_text(name)}</code></summary><pre>{_json(model)}</pre></details>'
        for name, model in sorted(schema["components"]["schemas"].items())
    )
    return _PAGE.format(
        title=_text(info["title"]),
        version=_text(info["version"]),
        description=_text(info.get("description", "")),
        operations=operations,
        models=models,
    )


def _operation(method: str, path: str, operation: dict[str, Any], schema: dict[str, Any]) -> str:
    parameters = "".join(
        f"<li><code>{_text(one['name'])}</code> ({_text(one['in'])}) {_text(one.get('description') or '')}</li>"
        for one in operation.get("parameters", [])
    )
    answers = "".join(
        f"<li><code>{_text(status)}</code> {_text(answer.get('description', ''))}</li>"
        for status, answer in sorted(operation["responses"].items())
    )
    body = ""
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if content is not None:
        reference = content["schema"].get("$ref", "").rpartition("/")[2]
        name = f' (<a href="#{_text(reference)}">{_text(reference)}</a>)' if reference else ""
        command = f"curl -X POST http://127.0.0.1:8080{path} -H 'Content-Type: application/json' "
        command += f"-d '{json.dumps(content['example'])}'"
        body = f"<p>Body{name}:</p><pre>{_text(command)}</pre>"
    return (
        f"<section><h2><code>{_text(method.upper())} {_text(path)}</code> {_text(operation.get('summary') or '')}</h2>"
        f"<p>{_text(operation.get('description') or '')}</p>{body}<ul>{parameters}</ul><ul>{answers}</ul></section>"
    )


def _text(value: Any) -> str:
    return html.escape(str(value))


def _json(value: Any) -> str:
    return _text(json.dumps(value, indent=2))


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1b1f24 }}
h2 {{ font-size: 1.1rem; border-top: 1px solid #d8dee4; padding-top: 1rem }}
pre {{ background: #f6f8fa; padding: .75rem; overflow-x: auto; white-space: pre-wrap }}
code {{ font-family: ui-monospace, monospace }}
</style></head>
<body><h1>{title} {version}</h1><p>{description}</p><p><a href="/openapi.json">openapi.json</a></p>
{operations}<h2>Bodies</h2>{models}</body></html>
"""
