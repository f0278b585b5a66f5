"""A page to try things in: GET /playground. Files as they are; all that it shows comes from the routes that others use.

It is served where RUNTIME_PLAYGROUND is 1, as in `runtime dev`. It runs no script but its own, and may talk to nobody
but this gateway; with API keys it asks for one, and keeps it for as long as its tab is open.
"""

from __future__ import annotations

from pathlib import Path

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.response import Redirect

from gateway.settings import GatewaySettings
from runtime.errors import CallFailed

FILES = Path(__file__).parent / "files"
MEDIA = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-cache",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def routes(settings: GatewaySettings) -> list[HTTPRouteHandler]:
    """The page's routes; none where it is not wanted."""
    return [get_root, get_page, get_file] if settings.playground else []


@get("/", include_in_schema=False)
async def get_root() -> Redirect:
    """Where somebody lands who opens the gateway's URL."""
    return Redirect("/playground/")


@get("/playground", include_in_schema=False)
async def get_page() -> Response[bytes]:
    """The page."""
    return _file("index.html")


@get("/playground/{name:str}", include_in_schema=False)
async def get_file(name: str) -> Response[bytes]:
    """What the page is made of."""
    return _file(name)


def _file(name: str) -> Response[bytes]:
    content = _contents().get(name)
    if content is None:
        raise CallFailed("not_found", f"the playground has no file {name[:80]!r}")
    return Response(content, media_type=f"{MEDIA[Path(name).suffix]}; charset=utf-8", headers=HEADERS)


def _contents() -> dict[str, bytes]:
    """The files by name: only those that are in the folder can be asked for."""
    return {path.name: path.read_bytes() for path in FILES.iterdir() if path.suffix in MEDIA}
