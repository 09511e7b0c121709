"""`POST /v1/audio/transcriptions` and `/v1/audio/translations`: transcribe an audio file from a multipart form."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from functools import partial
from typing import Any
from uuid import UUID

import orjson

from edge.call.endpoint_adapter import ChatStreamDefaults, EndpointAdapter, ParsedRequest, RawResponse, cost_fields
from edge.call.exchange import Finished
from edge.http.api_spec import (
    COST_SCHEMA,
    EVENTS,
    FILE,
    FORM,
    JSON,
    PLAIN,
    STRING,
    ResponseSpec,
    RouteSpec,
    Schema,
    array,
    describe_model_call,
    enum,
    number,
    response_schema,
    string,
)
from edge.http.fields import MAX_MODEL_LENGTH, requested_model
from edge.http.multipart import File, Form, read_form
from shared.core.errors import InvalidRequest
from shared.dialects.base import ChatCall
from shared.dialects.transcriptions import JSON_FORMATS, TEXT_FORMATS
from shared.text.media_types import HEAD_BYTES, detect_media_type

FORMATS = (*JSON_FORMATS, *TEXT_FORMATS)
GRANULARITIES = ("word", "segment")
# Providers count about ten tokens per second of audio.
MIN_BYTES_PER_TOKEN = 75  # Opus at 6 kbit/s, the lowest bit rate that they accept
LIKELY_BYTES_PER_TOKEN = 1_600  # MP3 at 128 kbit/s
# Extensions of forwarded files. Their names are not forwarded: they may be personal data.
EXTENSIONS = frozenset({"aac", "flac", "m4a", "mp3", "mp4", "mpeg", "mpga", "oga", "ogg", "opus", "wav", "webm"})
_TYPE_EXTENSIONS = {"audio/mpeg": "mp3", "audio/x-wav": "wav", "audio/wave": "wav", "audio/x-m4a": "m4a", "audio/x-flac": "flac"}
_NUMBER = re.compile(r"[0-9]{0,3}\.?[0-9]{0,20}", re.ASCII)
_AUDIO = re.compile(r"audio/[\w.+-]{1,64}", re.ASCII)
_VIDEO_TYPES = ("video/mp4", "video/webm", "video/mpeg")  # recorders use these types for audio-only containers, too


def parse(form: Form, endpoint: str = "transcriptions") -> ChatCall:
    """Return the call of a form, with a body for `dialects.transcriptions`. Raises `InvalidRequest`."""
    fields = _single(form)
    model = requested_model(fields)
    format = fields.get("response_format") or "json"
    if format not in FORMATS:
        raise InvalidRequest(f"'response_format' must be one of {', '.join(FORMATS)}.", "response_format")
    stream = _stream(fields.get("stream"), format, endpoint)
    _check_temperature(fields.get("temperature"))
    for name, value in form.fields:
        if name in ("timestamp_granularities", "timestamp_granularities[]") and value not in GRANULARITIES:
            raise InvalidRequest(f"'timestamp_granularities' must be {' or '.join(GRANULARITIES)}.", "timestamp_granularities")
    file = _file(form)
    written = sum(len(value.encode()) for _, value in form.fields)
    name, kind = _described(file)
    body = {
        "endpoint": endpoint,
        "fields": form.fields,
        "response_format": format,
        "file": file.data,
        "file_name": name,
        "file_type": kind,
    }
    return ChatCall(
        model=model,
        body=body,
        stream=stream,
        include_usage=False,
        choices=1,
        output_limit=0,
        input_bound=len(file.data) // MIN_BYTES_PER_TOKEN + written + 1,
        input_estimate=len(file.data) // LIKELY_BYTES_PER_TOKEN + written // 4 + 1,
        kind="transcription",
    )


def _single(form: Form) -> dict[str, str]:
    """Return the fields that are not lists. Raises `InvalidRequest` if one is repeated."""
    found: dict[str, str] = {}
    for name, value in form.fields:
        if name in found:
            raise InvalidRequest(f"'{name}' must not be repeated.", name)
        if not name.endswith("[]") and name != "timestamp_granularities":
            found[name] = value
    return found


def _file(form: Form) -> File:
    for name, _ in form.files:
        if name != "file":
            raise InvalidRequest(f"'{name}' must not be a file. Send the audio as 'file'.", name)
    if len(form.files) != 1 or any(name == "file" for name, _ in form.fields):
        raise InvalidRequest("'file' must be a single file part with a file name.", "file")
    file = form.files[0][1]
    if not file.data:
        raise InvalidRequest("'file' is empty.", "file")
    return file


def _stream(value: str | None, format: str, endpoint: str) -> bool:
    if value not in (None, "", "false", "true"):
        raise InvalidRequest("'stream' must be true or false.", "stream")
    if value != "true":
        return False
    if endpoint != "transcriptions":
        raise InvalidRequest(f"'stream' is not supported for {endpoint}.", "stream")
    if format != "json":
        raise InvalidRequest("'stream' is only supported with the 'response_format' json.", "stream")
    return True


def _check_temperature(value: str | None) -> None:
    if value is None:
        return
    # `float` would also accept "1_0", "nan" and digits of other scripts.
    if not _NUMBER.fullmatch(value) or value in ("", ".") or float(value) > 1:
        raise InvalidRequest("'temperature' must be a number between 0 and 1.", "temperature")


def _described(file: File) -> tuple[str, str]:
    """Return the file name and media type to forward, from the declared type, the extension and the content."""
    if _AUDIO.fullmatch(file.type) or file.type in _VIDEO_TYPES:
        kind = file.type
    else:
        kind = detect_media_type(file.data[:HEAD_BYTES]) or "application/octet-stream"
    extension = file.name.rpartition(".")[2].lower()
    if extension not in EXTENSIONS:
        subtype = kind.partition("/")[2]
        extension = _TYPE_EXTENSIONS.get(kind, subtype if subtype in EXTENSIONS else "")
    return f"audio.{extension}" if extension else "audio", kind


class TranscriptRenderer(ChatStreamDefaults):
    """Renders a transcript. Formats other than JSON report the cost in headers, and a stream reports it in its last event."""

    __slots__ = ("_format",)

    transform_chunks = None

    def __init__(self, format: str) -> None:
        self._format = format

    def render_complete(self, event: Finished) -> dict[str, Any] | RawResponse:
        """Return the provider's response, with the cost."""
        if self._format in JSON_FORMATS:
            return {**event.body, "yout": cost_fields(event)}
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"x-content-type-options", b"nosniff"),
            (b"x-yout-credits-charged", b"%d" % event.settled.credits),
            (b"x-yout-balance", b"%d" % event.settled.balance),
        ]
        return RawResponse(headers, event.body["text"].encode())

    def finish(self, event: Finished) -> bytes:
        """Return the last event."""
        return b"data: " + orjson.dumps({**event.body, "yout": cost_fields(event)}) + b"\n\n"


def _open_form(endpoint: str, data: bytes, content_type: str, _: UUID) -> ParsedRequest:
    form = read_form(data, content_type)
    call = parse(form, endpoint)
    # Each request has a new boundary, so equal forms have different bytes.
    same = [endpoint, sorted(form.fields), call.body["file_type"], hashlib.sha256(call.body["file"]).hexdigest()]
    return ParsedRequest(call, TranscriptRenderer(call.body["response_format"]), idempotency_body=orjson.dumps(same))


def _refuse(_: bytes, __: UUID) -> ParsedRequest:
    raise InvalidRequest("The body must be multipart/form-data with the fields 'file' and 'model'.")


_FIELDS = {
    "file": FILE,
    "model": string(MAX_MODEL_LENGTH),
    "prompt": STRING,
    "response_format": enum(*FORMATS),
    "temperature": number(0, 1),
}


def _declare(summary: str, says: str, media_types: tuple[str, ...], fields: Mapping[str, Schema]) -> RouteSpec:
    answer = ResponseSpec(response_schema({"text": STRING, "yout": COST_SCHEMA}), says, media_types)
    body = {
        "type": "object",
        "properties": {**_FIELDS, **fields},
        "required": ["file", "model"],
        "additionalProperties": STRING,
    }
    return describe_model_call(summary, answer, body=body, body_type=FORM)


_COST = "For text, srt and vtt, the cost is in the `x-yout-…` headers."
TRANSCRIPTIONS = EndpointAdapter(
    _refuse,
    declaration=_declare(
        "Create a transcription",
        f"The transcript. {_COST} With `stream`, its pieces as events (format json only).",
        (JSON, PLAIN, EVENTS),
        {
            "language": STRING,
            "timestamp_granularities[]": array(enum(*GRANULARITIES)),
            "stream": enum("true", "false"),
        },
    ),
    parse_form=partial(_open_form, "transcriptions"),
)
TRANSLATIONS = EndpointAdapter(
    _refuse,
    declaration=_declare("Translate a recording to English", f"The transcript in English. {_COST}", (JSON, PLAIN), {}),
    parse_form=partial(_open_form, "translations"),
)
