"""`POST /v1/audio/transcriptions`: a form with a sound in it becomes the text of what is said there."""

from __future__ import annotations

import hashlib
import re
from typing import Any
from uuid import UUID

import orjson

from edge.call.endpoint_adapter import Asked, Surface, Unstreamed, Written, spent
from edge.call.exchange import Finished
from edge.http.api_spec import FILE, FORM, JSON, PLAIN, SPENT, STRING, Answer, array, declare_call, number, one_of, record, text
from edge.http.fields import LONGEST_MODEL, model_of
from edge.http.multipart import File, Form, read_form
from shared.core.errors import InvalidRequest
from shared.dialects.base import ChatCall
from shared.dialects.transcriptions import JSON_FORMATS, TEXT_FORMATS
from shared.text.media_types import HEAD_BYTES, media_type

FORMATS = (*JSON_FORMATS, *TEXT_FORMATS)
GRANULARITIES = ("word", "segment")
# Vendors count about ten tokens a second. The thinnest speech that they take, Opus of 6 kbit/s, has so many bytes a token,
# and an MP3 of 128 kbit/s so many.
LEAST_BYTES_A_TOKEN = 75
LIKELY_BYTES_A_TOKEN = 1_600
# What a file may be called when it is passed on. Its real name stays here: it may name people.
EXTENSIONS = frozenset({"aac", "flac", "m4a", "mp3", "mp4", "mpeg", "mpga", "oga", "ogg", "opus", "wav", "webm"})
_TYPE_EXTENSIONS = {"audio/mpeg": "mp3", "audio/x-wav": "wav", "audio/wave": "wav", "audio/x-m4a": "m4a", "audio/x-flac": "flac"}
_NUMBER = re.compile(r"[0-9]{0,3}\.?[0-9]{0,20}", re.ASCII)
_AUDIO = re.compile(r"audio/[\w.+-]{1,64}", re.ASCII)
_FILMS = ("video/mp4", "video/webm", "video/mpeg")  # a recorder's name for a container that may hold nothing but sound


def read(form: Form) -> ChatCall:
    """The call that a form asks for; its body is as `dialects.transcriptions` has it. Raises `InvalidRequest`."""
    fields = _single(form)
    model = model_of(fields)
    format = fields.get("response_format") or "json"
    if format not in FORMATS:
        raise InvalidRequest(f"'response_format' must be one of {', '.join(FORMATS)}.", "response_format")
    _check_stream(fields.get("stream"))
    _check_temperature(fields.get("temperature"))
    for name, value in form.fields:
        if name in ("timestamp_granularities", "timestamp_granularities[]") and value not in GRANULARITIES:
            raise InvalidRequest(f"'timestamp_granularities' takes {' and '.join(GRANULARITIES)}.", "timestamp_granularities")
    file = _file(form)
    written = sum(len(value.encode()) for _, value in form.fields)
    name, kind = _described(file)
    body = {"fields": form.fields, "response_format": format, "file": file.data, "file_name": name, "file_type": kind}
    return ChatCall(
        model=model,
        body=body,
        stream=False,
        include_usage=False,
        choices=1,
        output_limit=0,
        input_bound=len(file.data) // LEAST_BYTES_A_TOKEN + written + 1,
        input_estimate=len(file.data) // LIKELY_BYTES_A_TOKEN + written // 4 + 1,
        kind="transcription",
    )


def _single(form: Form) -> dict[str, str]:
    """The fields that are no lists, each of them given once."""
    found: dict[str, str] = {}
    for name, value in form.fields:
        if name in found:
            raise InvalidRequest(f"'{name}' is given twice.", name)
        if not name.endswith("[]") and name != "timestamp_granularities":
            found[name] = value
    return found


def _file(form: Form) -> File:
    for name, _ in form.files:
        if name != "file":
            raise InvalidRequest(f"'{name}' can't be a file here; the sound goes into 'file'.", name)
    if len(form.files) != 1 or any(name == "file" for name, _ in form.fields):
        raise InvalidRequest("'file' must be one file: a part of the form that has a file name.", "file")
    file = form.files[0][1]
    if not file.data:
        raise InvalidRequest("'file' is empty.", "file")
    return file


def _check_stream(value: str | None) -> None:
    if value == "true":
        raise InvalidRequest("Transcriptions do not stream here. Leave out 'stream'.", "stream")
    if value not in (None, "", "false"):
        raise InvalidRequest("'stream' must be true or false.", "stream")


def _check_temperature(value: str | None) -> None:
    if value is None:
        return
    # `float` also accepts digits of other scripts, "1_0" and "nan", which would be forwarded unchanged.
    if not _NUMBER.fullmatch(value) or value in ("", ".") or float(value) > 1:
        raise InvalidRequest("'temperature' must be a number from 0 to 1.", "temperature")


def _described(file: File) -> tuple[str, str]:
    """The name and the media type under which a file is passed on: its format, as far as the sender or its bytes tell."""
    if _AUDIO.fullmatch(file.type) or file.type in _FILMS:
        kind = file.type
    else:
        kind = media_type(file.data[:HEAD_BYTES]) or "application/octet-stream"
    extension = file.name.rpartition(".")[2].lower()
    if extension not in EXTENSIONS:
        told = kind.partition("/")[2]
        extension = _TYPE_EXTENSIONS.get(kind, told if told in EXTENSIONS else "")
    return f"audio.{extension}" if extension else "audio", kind


class Transcript(Unstreamed):
    """The renderer of what was said. Formats that are no JSON leave no room for what it cost: that goes into headers."""

    __slots__ = ("_format",)

    def __init__(self, format: str) -> None:
        self._format = format

    def whole(self, event: Finished) -> dict[str, Any] | Written:
        """The vendor's answer."""
        if self._format in JSON_FORMATS:
            return {**event.body, "yout": spent(event)}
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"x-content-type-options", b"nosniff"),
            (b"x-yout-credits-charged", b"%d" % event.settled.credits),
            (b"x-yout-balance", b"%d" % event.settled.balance),
        ]
        return Written(headers, event.body["text"].encode())


def _open_form(data: bytes, content_type: str, _: UUID) -> Asked:
    form = read_form(data, content_type)
    call = read(form)
    # A form's boundary differs each time that it is sent, so that its bytes do not tell whether it is the same.
    same = [sorted(form.fields), call.body["file_type"], hashlib.sha256(call.body["file"]).hexdigest()]
    return Asked(call, Transcript(call.body["response_format"]), same_as=orjson.dumps(same))


def _refuse(_: bytes, __: UUID) -> Asked:
    raise InvalidRequest("The body must be a form (multipart/form-data) with the fields 'file' and 'model'.")


DECLARATION = declare_call(
    "Transcribe a sound, as OpenAI's API does",
    Answer(
        record({"text": STRING, "yout": SPENT}),
        "What is said. In text, srt and vtt, what it cost is in the headers x-yout-….",
        (JSON, PLAIN),
    ),
    body={
        "type": "object",
        "properties": {
            "file": FILE,
            "model": text(LONGEST_MODEL),
            "language": STRING,
            "prompt": STRING,
            "response_format": one_of(*FORMATS),
            "temperature": number(0, 1),
            "timestamp_granularities[]": array(one_of(*GRANULARITIES)),
        },
        "required": ["file", "model"],
        "additionalProperties": STRING,
    },
    takes=FORM,
)
TRANSCRIPTIONS = Surface(_refuse, declaration=DECLARATION, read_form=_open_form)
