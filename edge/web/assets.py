"""`/assets/<name>`: the style sheets, scripts and icons of the edge's pages, from `shared/static` and from beside this file."""

from __future__ import annotations

import mimetypes
from pathlib import Path

from quart import Blueprint, Response, abort

import shared

FRESH_SECONDS = 300
_FOLDERS = (Path(shared.__file__).parent / "static", Path(__file__).parent / "static")
# A few small files, read once: no request waits for a disk.
_FILES = {path.name: path.read_bytes() for folder in _FOLDERS for path in folder.iterdir() if path.is_file()}

assets = Blueprint("assets", __name__)


@assets.get("/assets/<name>")
async def show_asset(name: str) -> Response:
    """One of the files."""
    if name not in _FILES:
        abort(404)
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    response = Response(_FILES[name], content_type=f"{kind}; charset=utf-8" if kind.startswith("text/") else kind)
    response.headers["cache-control"] = f"public, max-age={FRESH_SECONDS}"
    response.headers["x-content-type-options"] = "nosniff"
    return response
