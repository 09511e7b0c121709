"""`/assets/<version>/<name>`: style sheets, scripts and fonts, from `shared/static` and `static`."""

from __future__ import annotations

import asyncio
from functools import cache
from pathlib import Path

from quart import Blueprint, Response, abort, request

import shared
from shared.files.static_files import CACHE_CONTROL, UNVERSIONED_CACHE_CONTROL, StaticFiles
from shared.text.compression import CODINGS
from shared.text.translation import LANGUAGES, script_messages

assets = Blueprint("assets", __name__)


def script_messages_name(language: str) -> str:
    """Return the name of the asset with the translations of scripts."""
    return f"messages/{language}.json"


@cache
def files() -> StaticFiles:
    """Return all files. The first call takes 0.05 s (see `edge.web.languages`)."""
    return StaticFiles(
        Path(shared.__file__).parent / "static",
        Path(__file__).parent / "static",
        generated={script_messages_name(language): script_messages(language) for language in LANGUAGES},
    )


def asset_url(name: str) -> str:
    """Return the versioned URL of a file such as `web.css`. Raises `KeyError` if there is no such file."""
    return f"/assets/{files().path(name)}"


def module_urls(name: str) -> list[str]:
    """Return the URLs of an ES module and of all its imports. `<link rel="modulepreload">` makes browsers fetch them at once."""
    return [asset_url(module) for module in files().modules(name)]


@assets.get("/assets/<path:name>")
async def show_asset(name: str) -> Response:
    """Return a file, compressed if the client supports it."""
    name, current = files().split_version(name)
    found = files().find(name)
    if found is None:
        abort(404)
    coding = request.accept_encodings.best_match(CODINGS) if found.compressible else None
    data = found.data
    if coding is not None:
        # The first time in a thread, because it takes long.
        data = found.compressed(coding) if found.is_ready(coding) else await asyncio.to_thread(found.compressed, coding)
    response = Response(data, content_type=found.content_type)
    if coding is not None:
        response.headers["content-encoding"] = coding
    if found.compressible:
        response.headers["vary"] = "accept-encoding"
    response.headers["cache-control"] = CACHE_CONTROL if current else UNVERSIONED_CACHE_CONTROL
    response.headers["x-content-type-options"] = "nosniff"
    response.set_etag(found.etag(coding))
    await response.make_conditional(request)
    return response
