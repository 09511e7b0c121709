"""Tags: callers' own labels for calls, in the header `x-yout-tag`, or in the body as `metadata.tag`.

A tag is stored with the call's usage. It is not sent to the provider. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import Meta

from edge.http.body_types import Body
from shared.core.errors import InvalidRequest

HEADER = "x-yout-tag"
PARAM = "metadata.tag"
FORM_FIELD = "metadata[tag]"  # `metadata.tag` in a form, as SDKs encode it
MAX_TAG_LENGTH = 64
_PATTERN = f"[A-Za-z0-9._:/-]{{1,{MAX_TAG_LENGTH}}}"
_EXPECTED = f"1 to {MAX_TAG_LENGTH} letters, digits or characters of . _ : / -"
_match = re.compile(_PATTERN).fullmatch

Tag = Annotated[
    # `(?!\n)`: in Python, `$` also matches before a final line break.
    Annotated[str, Meta(pattern=rf"^{_PATTERN}(?!\n)$")] | None,
    Meta(description="Label of the call in your usage. Not sent to the provider.", extra={"expected": _EXPECTED}),
]


class CallMetadata(Body):
    """Metadata of a call."""

    tag: Tag = None


class TagMetadata(Body, forbid_unknown_fields=True):
    """Metadata of a call to the native API."""

    tag: Tag = None


Metadata = Annotated[CallMetadata | None, Meta(description="Not sent to the provider, except for `user_id` as a pseudonym.")]
OwnMetadata = Annotated[TagMetadata | None, Meta(description="Contains the `tag` of the call.")]


def parse_tag(value: bytes | None) -> str | None:
    """Return the tag in the header, or None without one. Raises `InvalidRequest`."""
    return None if value is None else _checked(value.decode("latin-1"), HEADER)


def split_tag(body: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
    """Return a parsed body without `metadata.tag`, and the tag. `body` is not modified. Raises `InvalidRequest`."""
    metadata = body.get("metadata")
    if not isinstance(metadata, dict) or "tag" not in metadata:
        return body, None
    tag, rest = metadata["tag"], {name: value for name, value in metadata.items() if name != "tag"}
    without = {name: value for name, value in body.items() if name != "metadata"}
    return without | ({"metadata": rest} if rest else {}), None if tag is None else _checked(tag, PARAM)


def nest_form_metadata(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a form, with its metadata as in a JSON body: `metadata[tag]` becomes `{"metadata": {"tag": …}}`."""
    own = {name: name[len("metadata[") : -1] for name in fields if name.startswith("metadata[")}
    nested = {name: value for name, value in fields.items() if name not in own}
    return nested | ({"metadata": {own[name]: fields[name] for name in own}} if own else {})


def _checked(tag: object, param: str) -> str:
    if not isinstance(tag, str) or not _match(tag):
        raise InvalidRequest(f"'{param}' must be {_EXPECTED}.", param)
    return tag
