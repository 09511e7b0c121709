"""`POST /v1/moderations` and `POST /v1/audio/transcriptions`: passed on to channels that have them, priced by the call."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from edge.declare import (
    ANY,
    CALL,
    FILE,
    FORM,
    IDENTITY,
    INTEGER,
    KEY,
    TEXT,
    Answer,
    Declaration,
    Schema,
    array,
    example,
    open_wish,
    record,
    text,
)
from edge.exchange import Finished
from edge.requests import LONGEST_MODEL, json_object, model_of
from edge.surface import Asked, Surface, spent
from edge.v1.embeddings import Vectors
from shared.errors import InvalidRequest
from shared.providers.base import ChatCall

JSON_FORMATS = (b"json", b"verbose_json")
_NAME = re.compile(rb'content-disposition:[^\r\n]*?[; ]name="([^"\r\n]*)"', re.IGNORECASE)
_FILENAME = re.compile(rb'content-disposition:[^\r\n]*?[; ]filename="([^"\r\n]*)"', re.IGNORECASE)
_TYPE = re.compile(rb"content-type: *([\w.+-]+/[\w.+-]+)", re.IGNORECASE)
_LONGEST_BOUNDARY = 72  # RFC 2046, with its two hyphens
Parts = list[tuple[bytes, bytes]]


class Whole(Vectors):
    """The renderer of an answer that is passed on."""

    __slots__ = ()

    def whole(self, event: Finished) -> dict[str, Any]:
        """The vendor's own object."""
        return {**event.body, "yout": spent(event)}


def _call(kind: str, model: str, body: Mapping[str, Any]) -> ChatCall:
    return ChatCall(
        model=model,
        body=body,
        stream=False,
        include_usage=False,
        choices=1,
        output_limit=0,
        input_bound=0,
        input_estimate=0,
        kind=kind,
    )


def moderation(data: bytes) -> ChatCall:
    """The call that a moderation's body asks for."""
    body = json_object(data)
    if not isinstance(body.get("input"), str | list) or not body["input"]:
        raise InvalidRequest("'input' must be a string, or a list of strings or parts, and not empty.", "input")
    return _call("moderation", model_of(body), body)


def transcription(data: bytes, call_id: UUID) -> ChatCall:
    """The call that a form asks for."""
    parts = _parts(data)
    named = {_name(head): content for head, content in parts}
    if b"file" not in named:
        raise InvalidRequest("'file' must be a part of the form: the sound to be transcribed.", "file")
    if named.get(b"response_format", b"json") not in JSON_FORMATS:
        raise InvalidRequest("'response_format' must be json or verbose_json here.", "response_format")
    if named.get(b"stream", b"false").lower() not in (b"false", b"0"):
        raise InvalidRequest("Transcriptions do not stream here. Leave out 'stream'.", "stream")
    model = model_of({"model": named.get(b"model", b"").decode(errors="replace")})
    kept = tuple((_plain(head), content) for head, content in parts if _name(head) != b"model")
    return _call("transcription", model, {"parts": kept, "boundary": call_id.hex})


def _parts(data: bytes) -> Parts:
    """Head and content of each part of a form. Its boundary is its first line."""
    line, _, _ = data.partition(b"\r\n")
    if not line.startswith(b"--") or not 2 < len(line) <= _LONGEST_BOUNDARY:
        raise InvalidRequest("The body must be a form: multipart/form-data with 'file' and 'model'.", "file")
    pieces = (b"\r\n" + data).split(b"\r\n" + line)
    if len(pieces) < 3 or not pieces[-1].startswith(b"--"):
        raise InvalidRequest("The form is not complete: its last boundary is missing.", "file")
    parts = []
    for piece in pieces[1:-1]:
        head, found, content = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        if not found or not _NAME.search(head):
            raise InvalidRequest("Every part of the form must have a name.", "file")
        parts.append((head, content))
    return parts


def _name(head: bytes) -> bytes:
    found = _NAME.search(head)
    return found[1] if found is not None else b""


def _plain(head: bytes) -> bytes:
    """A part's head made anew: a vendor must not read another name in it than was read here."""
    plain = b'Content-Disposition: form-data; name="%s"' % _name(head)
    filename, kind = _FILENAME.search(head), _TYPE.search(head)
    if filename is not None:
        plain += b'; filename="%s"' % filename[1]
    return plain + (b"\r\nContent-Type: %s" % kind[1] if kind is not None else b"")


def _open_moderation(data: bytes, _: UUID) -> Asked:
    return Asked(moderation(data), Whole())


def _open_transcription(data: bytes, call_id: UUID) -> Asked:
    return Asked(transcription(data, call_id), Whole())


_SPENT = record({"credits_charged": INTEGER, "balance": INTEGER})
_INPUT: Schema = {"anyOf": [TEXT, array(ANY, 1)]}
MODERATION = Declaration(
    "Judge texts, as OpenAI's moderation API does",
    KEY,
    {200: Answer(record({"yout": _SPENT}), "The vendor's own object.")},
    (*CALL, *IDENTITY),
    body=example(
        open_wish({"model": text(LONGEST_MODEL), "input": _INPUT}, required=("model", "input")),
        {"model": "$moderation", "input": "Hello"},
    ),
)
TRANSCRIPTION = Declaration(
    "Transcribe a sound, as OpenAI's API does",
    KEY,
    {200: Answer(record({"yout": _SPENT}), "The vendor's own object.")},
    (*CALL, *IDENTITY),
    body=open_wish({"model": text(LONGEST_MODEL), "file": FILE}, required=("model", "file")),
    takes=FORM,
)
MODERATIONS = Surface(_open_moderation, declaration=MODERATION)
TRANSCRIPTIONS = Surface(_open_transcription, declaration=TRANSCRIPTION)
