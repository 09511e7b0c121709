"""`POST /v1/audio/transcriptions` and `/v1/audio/translations`: transcribe an audio file from a multipart form."""

from __future__ import annotations

import hashlib
import re
from functools import partial
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import orjson
from msgspec import Meta

from edge.call.endpoint_adapter import ChatStreamDefaults, EndpointAdapter, ParsedRequest, RawResponse, cost_fields
from edge.call.exchange import Finished
from edge.call.requests import Flag, TopP
from edge.http.api_spec import (
    COST_SCHEMA,
    EVENTS,
    FORM,
    JSON,
    PLAIN,
    STRING,
    WEB,
    ResponseSpec,
    RouteSpec,
    describe_model_call,
    response_schema,
)
from edge.http.body_types import Body, ModelId, check_body
from edge.http.multipart import File, Form, read_form
from edge.http.tags import FORM_FIELD, nest_form_metadata, split_tag
from shared.billing.token_usage import without_provider_cost
from shared.core.errors import DailyAllowanceExhausted, InvalidRequest
from shared.dialects.base import ChatCall
from shared.dialects.transcriptions import JSON_FORMATS
from shared.text.audio_duration import audio_seconds
from shared.text.media_types import HEAD_BYTES, detect_media_type
from shared.text.translation import lazy_gettext

# Providers count about ten tokens per second of audio.
MIN_BYTES_PER_TOKEN = 75  # Opus at 6 kbit/s, the lowest bit rate that they accept
LIKELY_BYTES_PER_TOKEN = 1_600  # MP3 at 128 kbit/s
# Extensions of forwarded files. Their names are not forwarded: they may be personal data.
EXTENSIONS = frozenset({"aac", "flac", "m4a", "mp3", "mp4", "mpeg", "mpga", "oga", "ogg", "opus", "wav", "webm"})
_TYPE_EXTENSIONS = {"audio/mpeg": "mp3", "audio/x-wav": "wav", "audio/wave": "wav", "audio/x-m4a": "m4a", "audio/x-flac": "flac"}
_AUDIO = re.compile(r"audio/[\w.+-]{1,64}", re.ASCII)
_VIDEO_TYPES = ("video/mp4", "video/webm", "video/mpeg")  # recorders use these types for audio-only containers, too


class AudioForm(Body, kw_only=True):
    """An audio file to translate to English. Other fields are forwarded to the provider."""

    file: Annotated[Any, Meta(description="The audio file.", extra_json_schema={"type": "string", "format": "binary"})]
    model: ModelId
    prompt: Annotated[str | None, Meta(description="Text that guides the model's style or spelling.")] = None
    response_format: Annotated[
        Literal["json", "verbose_json", "text", "srt", "vtt"] | None, Meta(description="Default: `json`.")
    ] = None
    temperature: Annotated[TopP | None, Meta(description="Sampling temperature. Higher values are more random.")] = None
    stream: Annotated[Flag, Meta(description="Send the text as events. Only for transcriptions, in the format `json`.")] = None


class TranscriptionForm(AudioForm, kw_only=True):
    """An audio file to transcribe. Other fields are forwarded to the provider."""

    language: Annotated[str | None, Meta(description="Language of the audio, such as `en`.")] = None
    timestamp_granularities: Annotated[
        list[Literal["word", "segment"]] | None, Meta(description="Timestamps to return with `verbose_json`.")
    ] = msgspec.field(default=None, name="timestamp_granularities[]")


FORMS: dict[str, type[AudioForm]] = {"transcriptions": TranscriptionForm, "translations": AudioForm}


def parse(form: Form, endpoint: str = "transcriptions") -> ChatCall:
    """Return the call of a form, with a body for `dialects.transcriptions`. Raises `InvalidRequest`."""
    file = _file(form)
    requested = check_body({**_fields(form), "file": file}, FORMS[endpoint], strict=False)
    format = requested.response_format or "json"
    _check_stream(requested, format, endpoint)
    written = sum(len(value.encode()) for _, value in form.fields)
    name, kind = _described(file)
    _, tag = split_tag(nest_form_metadata(dict(form.fields)))
    body = {
        "endpoint": endpoint,
        "fields": form.fields if tag is None else tuple(field for field in form.fields if field[0] != FORM_FIELD),
        "response_format": format,
        "file": file.data,
        "file_name": name,
        "file_type": kind,
        "seconds": audio_seconds(file.data),
    }
    return ChatCall(
        model=requested.model,
        body=body,
        stream=bool(requested.stream),
        include_usage=False,
        choices=1,
        output_limit=0,
        input_bound=len(file.data) // MIN_BYTES_PER_TOKEN + written + 1,
        input_estimate=len(file.data) // LIKELY_BYTES_PER_TOKEN + written // 4 + 1,
        kind="transcription",
        tag=tag,
    )


def _fields(form: Form) -> dict[str, Any]:
    """Return the non-empty fields, repeatable ones as lists. Raises `InvalidRequest` if another field is repeated."""
    found: dict[str, str] = {}
    lists: dict[str, list[str]] = {}
    for name, value in form.fields:
        if name in found:
            raise InvalidRequest(f"'{name}' must not be repeated.", name)
        if name.endswith("[]") or name == "timestamp_granularities":
            lists.setdefault(f"{name.removesuffix('[]')}[]", []).append(value)
        else:
            found[name] = value
    return {name: value for name, value in found.items() if value} | lists


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


def _check_stream(requested: AudioForm, format: str, endpoint: str) -> None:
    if requested.stream and endpoint != "transcriptions":
        raise InvalidRequest(f"'stream' is not supported for {endpoint}.", "stream")
    if requested.stream and format != "json":
        raise InvalidRequest("'stream' is only supported with the 'response_format' json.", "stream")


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
            return {**without_provider_cost(event.body), "yout": cost_fields(event)}
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"x-content-type-options", b"nosniff"),
            (b"x-yout-credits-charged", b"%d" % event.settled.credits),
            (b"x-yout-balance", b"%d" % event.settled.balance),
        ]
        return RawResponse(headers, event.body["text"].encode())

    def finish(self, event: Finished) -> bytes:
        """Return the last event."""
        return b"data: " + orjson.dumps({**without_provider_cost(event.body), "yout": cost_fields(event)}) + b"\n\n"


def _open_form(endpoint: str, data: bytes, content_type: str, _: UUID) -> ParsedRequest:
    form = read_form(data, content_type)
    call = parse(form, endpoint)
    # Each request has a new boundary, so equal forms have different bytes.
    same = [endpoint, sorted(form.fields), call.body["file_type"], hashlib.sha256(call.body["file"]).hexdigest()]
    return ParsedRequest(call, TranscriptRenderer(call.body["response_format"]), idempotency_body=orjson.dumps(same))


def _refuse(_: bytes, __: UUID) -> ParsedRequest:
    raise InvalidRequest("The body must be multipart/form-data with the fields 'file' and 'model'.")


def _declare(summary: str, says: str, media_types: tuple[str, ...], body: type[Body]) -> RouteSpec:
    answer = ResponseSpec(response_schema({"text": STRING, "yout": COST_SCHEMA}), says, media_types)
    return describe_model_call(summary, answer, body=body, body_type=FORM)


_TRANSCRIPTION = _declare(
    lazy_gettext("Create a transcription"),
    lazy_gettext(
        "The transcript. For text, srt and vtt, the cost is in the `x-yout-…` headers. With `stream`, its pieces as events"
        " (format json only)."
    ),
    (JSON, PLAIN, EVENTS),
    TranscriptionForm,
)
TRANSCRIPTIONS = EndpointAdapter(_refuse, declaration=_TRANSCRIPTION, parse_form=partial(_open_form, "transcriptions"))
# The same for pages: `POST /api/chat/transcription/`.
NATIVE_TRANSCRIPTIONS = TRANSCRIPTIONS._replace(
    allows_web_callers=True,
    declaration=_TRANSCRIPTION._replace(callers=WEB, errors=(*_TRANSCRIPTION.errors, DailyAllowanceExhausted)),
)
TRANSLATIONS = EndpointAdapter(
    _refuse,
    declaration=_declare(
        lazy_gettext("Translate a recording to English"),
        lazy_gettext("The transcript in English. For text, srt and vtt, the cost is in the `x-yout-…` headers."),
        (JSON, PLAIN),
        AudioForm,
    ),
    parse_form=partial(_open_form, "translations"),
)
