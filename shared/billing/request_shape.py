"""The shape of a provider's request: the names of its body's fields and of its headers. Pure.

Names that callers invent could contain anything, so they are only counted: a shape has the names that the API documents list,
and those that the channel's settings add.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import orjson

from shared.billing.cost_effects import OTHER_CHAT, OTHER_KINDS, SURFACES

ID_BYTES = 16
# Fields of other providers' bodies that the dialects write. Sources: Google, "GenerateContentRequest"; Cohere and Jina, "Rerank".
_PROVIDER_FIELDS = frozenset(
    {"contents", "systemInstruction", "generationConfig", "toolConfig", "safetySettings", "cachedContent", "labels"}
)
KNOWN_FIELDS = _PROVIDER_FIELDS.union(OTHER_CHAT, *SURFACES.values(), *OTHER_KINDS.values())
# Settings of a channel whose keys become fields.
_FIELD_SETTINGS = ("body", "media_body", "no_thinking")
_NAME_SETTINGS = ("max_tokens", "identity")  # settings whose value is the name of a field


class RequestShape(NamedTuple):
    """Sorted names without duplicates. `other_fields` is the number of fields with other names."""

    fields: tuple[str, ...]
    headers: tuple[str, ...]
    other_fields: int = 0

    def document(self) -> dict[str, Any]:
        """Return the shape as receipts show it."""
        return {"fields": list(self.fields), "headers": list(self.headers), "other_fields": self.other_fields}

    @property
    def id(self) -> bytes:
        """The first 16 bytes of the SHA-256 of the document, as JSON with sorted keys and without spaces."""
        return shape_id(self.document())


def shape_id(document: Mapping[str, Any]) -> bytes:
    """Return the id of a shape's document."""
    return hashlib.sha256(orjson.dumps(document, option=orjson.OPT_SORT_KEYS)).digest()[:ID_BYTES]


def channel_fields(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the fields that a channel's settings add to requests."""
    if not settings:
        return ()
    names = [name for setting in _FIELD_SETTINGS for name in settings.get(setting) or ()]
    names += [name for setting in _NAME_SETTINGS if isinstance(name := settings.get(setting), str)]
    return tuple(names)


def request_shape(fields: Iterable[str], headers: Iterable[str], own_fields: Iterable[str] = ()) -> RequestShape:
    """Return the shape of a request. `own_fields` are those that the channel's settings add."""
    known = KNOWN_FIELDS.union(own_fields)
    names = {field.partition("[")[0] for field in fields}  # in forms, `a[b]` and `a[]` are parts of `a`
    listed = names & known
    return RequestShape(tuple(sorted(listed)), tuple(sorted({name.lower() for name in headers})), len(names - listed))
