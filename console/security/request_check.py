"""Rejects oversized and compressed bodies, invalid hosts, and text that the database cannot store, before any view runs."""

from __future__ import annotations

from io import BytesIO

from flask import Flask, abort, current_app, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import BadHost

from console.security.access_control import SAFE_METHODS
from shared.core.errors import InvalidInput
from shared.text.plain_text import find_unstorable_field, truncate
from shared.text.translation import gettext


def install(app: Flask) -> None:
    """Check the body, the URL and the fields of every request of `app`."""
    app.before_request(_check_host)
    app.before_request(_check_coding)
    app.before_request(_read_chunked)
    app.before_request(_check_text)


def _check_host() -> ResponseReturnValue | None:
    """Answer 400 for an invalid Host header: Flask could not build the URLs that every page contains."""
    if not isinstance(request.routing_exception, BadHost):
        return None
    return "Invalid Host header.\n", 400, {"Content-Type": "text/plain; charset=utf-8"}


def _check_coding() -> None:
    """Refuse a compressed body, which would be read as a form without fields. Browsers never send one."""
    if request.method in SAFE_METHODS:
        return
    codings = {name.strip().lower() for name in request.headers.get("Content-Encoding", "").split(",")}
    if codings - {"", "identity"}:
        abort(415)


def _read_chunked() -> None:
    """Read a chunked body up to the limit. Werkzeug would silently truncate it there."""
    if request.method in SAFE_METHODS or "Content-Length" in request.headers:
        return
    limit = int(current_app.config["MAX_CONTENT_LENGTH"])
    body = bytearray()
    while len(body) <= limit and (chunk := request.environ["wsgi.input"].read(limit + 1 - len(body))):
        body += chunk
    if len(body) > limit:
        abort(413)
    request.environ |= {"wsgi.input": BytesIO(bytes(body)), "CONTENT_LENGTH": str(len(body))}


def _check_text() -> None:
    if "\0" in request.path:
        abort(404)
    name = find_unstorable_field([*request.args.items(multi=True), *request.form.items(multi=True)])
    if name is not None:
        raise InvalidInput(gettext("{field!r} contains a NUL character, which is not allowed.", field=truncate(name, 100)))
