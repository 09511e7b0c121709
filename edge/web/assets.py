"""`/assets/<name>`: style sheets and scripts, from `shared/static` and `static`.

The files are loaded into memory once. Pages link to them with a version, so that browsers can cache them for a year.
"""

from __future__ import annotations

import hashlib
import mimetypes
from pathlib import Path
from typing import NamedTuple

from quart import Blueprint, Response, abort, request

import shared
from shared.text.translation import LANGUAGES, script_messages

CACHE_SECONDS = 300  # cache time of a file requested without its version
VERSIONED_CACHE_SECONDS = 365 * 24 * 3600
FOLDERS = (Path(shared.__file__).parent / "static", Path(__file__).parent / "static")

assets = Blueprint("assets", __name__)


class Asset(NamedTuple):
    """A file in memory."""

    data: bytes
    content_type: str
    version: str


def _load(path: Path) -> Asset:
    data = path.read_bytes()
    kind = mimetypes.guess_type(path.name)[0] or "text/plain"  # license files
    return Asset(data, f"{kind}; charset=utf-8" if kind.startswith("text/") else kind, hashlib.sha256(data).hexdigest()[:12])


_FILES = {path.relative_to(folder).as_posix(): _load(path) for folder in FOLDERS for path in folder.rglob("*") if path.is_file()}


def script_messages_name(language: str) -> str:
    """Return the name of the asset with the translations of scripts."""
    return f"messages/{language}.json"


for _language in LANGUAGES:
    _messages = script_messages(_language)
    _FILES[script_messages_name(_language)] = Asset(_messages, "application/json", hashlib.sha256(_messages).hexdigest()[:12])


def asset_url(name: str) -> str:
    """Return the versioned URL of a file such as `web.css`. Raises `KeyError` if there is no such file."""
    return f"/assets/{name}?v={_FILES[name].version}"


@assets.get("/assets/<path:name>")
async def show_asset(name: str) -> Response:
    """Return a file."""
    found = _FILES.get(name)
    if found is None:
        abort(404)
    response = Response(found.data, content_type=found.content_type)
    lasting = request.args.get("v") == found.version
    response.headers["cache-control"] = f"public, max-age={VERSIONED_CACHE_SECONDS if lasting else CACHE_SECONDS}"
    response.headers["x-content-type-options"] = "nosniff"
    return response
