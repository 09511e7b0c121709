"""Builds `multipart/form-data` bodies (RFC 7578).

Pure, except for the boundary, which is random so that a caller's data cannot contain it.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import orjson

# Escapes in field names (HTML, "Multipart form data"). Without them, a caller could smuggle in another field, such as `n`.
_ESCAPES = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})


class FilePart(NamedTuple):
    """A file in a form. `file_name` must not come from a caller."""

    field: str
    file_name: str
    media_type: str
    data: bytes


def form_fields(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the form fields of a JSON object, as OpenAI's SDKs name them: `{"a": {"b": [1]}}` is `a[b][]=1`."""
    for name, value in values.items():
        path = f"{prefix}[{name}]" if prefix else name
        if isinstance(value, Mapping):
            yield from form_fields(value, path)
        elif isinstance(value, list):
            yield from ((f"{path}[]", _text(item)) for item in value)
        elif value is not None:
            yield path, _text(value)


def form_body(fields: Iterable[tuple[str, str]], files: Iterable[FilePart]) -> tuple[str, bytes]:
    """Return the content type and the body of a form."""
    boundary = secrets.token_hex(16)
    pieces: list[bytes] = []
    for name, value in fields:
        pieces.append(f'--{boundary}\r\ncontent-disposition: form-data; name="{name.translate(_ESCAPES)}"\r\n\r\n'.encode())
        pieces += (value.encode(), b"\r\n")
    for file in files:
        head = f'--{boundary}\r\ncontent-disposition: form-data; name="{file.field}"; filename="{file.file_name}"\r\n'
        pieces += (f"{head}content-type: {file.media_type}\r\n\r\n".encode(), file.data, b"\r\n")
    pieces.append(f"--{boundary}--\r\n".encode())
    return f"multipart/form-data; boundary={boundary}", b"".join(pieces)


def _text(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
