"""A body that is a form with files (`multipart/form-data`, RFC 7578), read in memory: nothing of it is put on a disk."""

from __future__ import annotations

import re
from io import BytesIO
from typing import IO, Any, NamedTuple

from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import MultiPartParser
from werkzeug.http import parse_options_header

from edge.http.client_options import refuse_client_options
from shared.core.errors import InvalidRequest

MOST_PARTS = 100
LARGEST_FIELD = 2_000_000  # bytes; files have no limit but that of the body
LONGEST_NAME = 64
_NAME = re.compile(r"[A-Za-z]\w*(\[\w*\])*", re.ASCII)


class File(NamedTuple):
    """A file of a form. `type` is its media type in lower case, without parameters, as the sender calls it, maybe ""."""

    data: bytes
    name: str
    type: str


class Form(NamedTuple):
    """What a form holds, in its order; the names of its parts are plain ones, such as `user` and `include[]`."""

    fields: tuple[tuple[str, str], ...]
    files: tuple[tuple[str, File], ...]


def read_form(body: bytes, content_type: str) -> Form:
    """Read a form. Raises `InvalidRequest`."""
    boundary = parse_options_header(content_type)[1].get("boundary", "")
    if not boundary:
        raise InvalidRequest("The content type of a form must name its boundary: multipart/form-data; boundary=…")
    parser = MultiPartParser(_in_memory, max_form_memory_size=LARGEST_FIELD, max_form_parts=MOST_PARTS)
    try:
        fields, files = parser.parse(BytesIO(body), boundary.encode("latin-1"), len(body))
    except RequestEntityTooLarge:
        raise InvalidRequest(
            f"A form may have {MOST_PARTS} parts at most, and each field that is no file {LARGEST_FIELD} bytes."
        ) from None
    except ValueError:
        raise InvalidRequest("The body is not a whole multipart/form-data with the boundary that its header names.") from None
    for name in (*fields, *files):
        if not isinstance(name, str) or len(name) > LONGEST_NAME or not _NAME.fullmatch(name):
            raise InvalidRequest("A part of the form has no name, or one that is no plain field name.")
    refuse_client_options((*fields, *files))
    sent = ((name, File(file.stream.read(), file.filename or "", file.mimetype or "")) for name, file in files.items(multi=True))
    return Form(tuple(fields.items(multi=True)), tuple(sent))


def _in_memory(*_: Any, **__: Any) -> IO[bytes]:
    """Where the parser puts a file; its own default is a disk for all but small ones."""
    return BytesIO()
