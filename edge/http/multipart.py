"""Parses `multipart/form-data` bodies (RFC 7578) in memory; nothing is written to disk."""

from __future__ import annotations

import re
from io import BytesIO
from typing import IO, Any, NamedTuple

from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import MultiPartParser
from werkzeug.http import parse_options_header

from edge.http.client_library_options import refuse_client_options
from shared.core.errors import InvalidRequest

MAX_PARTS = 100
MAX_FIELD_BYTES = 2_000_000  # bytes; files are limited only by the body size
_MAX_NAME = 64
_NAME = re.compile(r"[A-Za-z]\w*(\[\w*\])*", re.ASCII)


class File(NamedTuple):
    """An uploaded file. `type` is the media type that the client sent, in lower case without parameters, or ""."""

    data: bytes
    name: str
    type: str


class Form(NamedTuple):
    """The fields and files of a form in order. Part names are plain, such as `user` or `include[]`."""

    fields: tuple[tuple[str, str], ...]
    files: tuple[tuple[str, File], ...]


def read_form(body: bytes, content_type: str) -> Form:
    """Parse a form. Raises `InvalidRequest`."""
    boundary = parse_options_header(content_type)[1].get("boundary", "")
    if not boundary:
        raise InvalidRequest("The Content-Type must include the boundary: multipart/form-data; boundary=…")
    parser = MultiPartParser(_in_memory, max_form_memory_size=MAX_FIELD_BYTES, max_form_parts=MAX_PARTS)
    try:
        fields, files = parser.parse(BytesIO(body), boundary.encode("latin-1"), len(body))
    except RequestEntityTooLarge:
        raise InvalidRequest(f"The form exceeds {MAX_PARTS} parts, or a text field exceeds {MAX_FIELD_BYTES} bytes.") from None
    except ValueError:
        raise InvalidRequest("The body is not valid multipart/form-data with the boundary in its Content-Type.") from None
    for name in (*fields, *files):
        if not isinstance(name, str) or len(name) > _MAX_NAME or not _NAME.fullmatch(name):
            raise InvalidRequest("A form part has no name or an invalid one.")
    refuse_client_options((*fields, *files))
    sent = ((name, File(file.stream.read(), file.filename or "", file.mimetype or "")) for name, file in files.items(multi=True))
    return Form(tuple(fields.items(multi=True)), tuple(sent))


def _in_memory(*_: Any, **__: Any) -> IO[bytes]:
    """Return a memory buffer for a file; the parser's default is a temporary file on disk."""
    return BytesIO()
