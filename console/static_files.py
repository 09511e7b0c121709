"""`/static/<version>/…` and `/shared/<version>/…`: the console's style sheets and scripts, and those of all apps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flask import Flask, Response, abort, request

import shared
from shared.files.static_files import CACHE_CONTROL, UNVERSIONED_CACHE_CONTROL, StaticFiles
from shared.text.compression import CODINGS

# By endpoint. `url_for("static", filename="console.css")` adds the version.
FILES = {
    "static": StaticFiles(Path(__file__).parent / "static"),
    "shared_static": StaticFiles(Path(shared.__file__).parent / "static"),
}
_PREFIXES = {"static": "/static", "shared_static": "/shared"}


def install(app: Flask) -> None:
    """Serve the files of `app`, which must be created with `static_folder=None`."""
    for endpoint, prefix in _PREFIXES.items():
        app.add_url_rule(f"{prefix}/<path:filename>", endpoint, _show)
    app.url_defaults(_add_version)


def _add_version(endpoint: str, values: dict[str, Any]) -> None:
    if endpoint in FILES:
        values["filename"] = FILES[endpoint].path(values["filename"])


def _show(filename: str) -> Response:
    """Return a file, compressed if the client supports it."""
    files = FILES[request.endpoint or ""]
    name, current = files.split_version(filename)
    found = files.find(name)
    if found is None:
        abort(404)
    coding = request.accept_encodings.best_match(CODINGS) if found.compressible else None
    response = Response(found.compressed(coding) if coding else found.data, content_type=found.content_type)
    if coding is not None:
        response.headers["Content-Encoding"] = coding
    if found.compressible:
        response.headers["Vary"] = "Accept-Encoding"
    response.headers["Cache-Control"] = CACHE_CONTROL if current else UNVERSIONED_CACHE_CONTROL
    response.set_etag(found.etag(coding))
    response.make_conditional(request)
    return response
