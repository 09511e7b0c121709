"""Transcriptions and translations in OpenAI's format: the request is a form, the response JSON, plain text or events.

Settings of a channel are those of the `openai` media formats: `headers`, `key_header`, and `media_body`, else `body`, whose
fields are added to the form (`{"store": false}` as `store=false`, `{"a": {"b": 1}}` as `a[b]=1`, as in OpenAI's SDKs). They
replace the caller's, so `{"stream": false}` is for providers that refuse streams.
"""

from __future__ import annotations

import orjson

from shared.billing.token_usage import PartialUsage, read_openai_usage
from shared.dialects.base import Answer, ChatCall, MalformedStream, ProviderError, ProviderRequest, Target
from shared.dialects.form_body import FilePart, form_body, form_fields
from shared.dialects.identity import CACHE_KEY, IDENTITY_FIELDS
from shared.dialects.openai import read_openai_error, request_headers
from shared.dialects.transcript_stream import TranscriptStream
from shared.text.json_depth import is_too_deep

JSON_FORMATS = ("json", "verbose_json")
TEXT_FORMATS = ("text", "srt", "vtt")
_IDENTIFIERS = (*IDENTITY_FIELDS, CACHE_KEY)


class Transcriptions:
    """A `Dialect` for calls of the kind `transcription`. Their `body` is not the caller's JSON object, but has these keys:

    fields           other form fields as pairs of texts; names are plain identifiers, optionally with `[]`
    endpoint         "transcriptions", or "translations" to English
    response_format  requested format: one of those above
    file             the audio as bytes
    file_name        file name for the provider, which only reveals the format
    file_type        media type
    seconds          duration of the audio, or None if it is not known
    """

    def build_request(self, call: ChatCall, target: Target) -> ProviderRequest:
        """Return the provider's request for `call`, with its model name, pseudonyms, and the channel's extra fields."""
        settings = target.route.settings
        own = list(form_fields(settings.get("media_body", settings.get("body")) or {}))
        replaced = {"model", *(name for name, _ in own)}
        fields = [("model", target.route.upstream_model)]
        for name, value in call.body["fields"]:
            plain = name.partition("[")[0]  # of `user[]`
            if name not in replaced and plain != "metadata":
                fields.append((name, target.pseudonym(value) if plain in _IDENTIFIERS else value))
        file = FilePart("file", call.body["file_name"], call.body["file_type"], call.body["file"])
        content_type, body = form_body([*fields, *own], [file])
        headers = {**dict(request_headers(target)), "content-type": content_type}
        url = f"{target.route.base_url}/audio/{call.body['endpoint']}"
        names = tuple(dict.fromkeys([*(name for name, _ in (*fields, *own)), file.field]))
        return ProviderRequest("POST", url, tuple(headers.items()), body, names)

    def new_stream_reader(self, call: ChatCall, call_id: str, created: int) -> TranscriptStream:  # noqa: ARG002  (unused: the events have neither)
        """Return a reader for one stream of the format `json`."""
        return TranscriptStream()

    def parse_response(self, data: bytes, call: ChatCall, call_id: str, created: int) -> Answer:  # noqa: ARG002  (unused: the answer has neither)
        """Parse the transcript; plain text becomes `{"text": …}`. A transcript without speech counts as not delivered. Raises
        `MalformedStream`."""
        format = call.body["response_format"]
        if format in TEXT_FORMATS:
            text = _text(data)
            return Answer({"text": text}, PartialUsage(), "", delivered=_has_speech(text, format))
        try:
            body = orjson.loads(data)
        except orjson.JSONDecodeError:
            raise MalformedStream("not JSON") from None
        if not isinstance(body, dict) or not isinstance(body.get("text"), str):
            raise MalformedStream("no text")
        if is_too_deep(data, body):
            raise MalformedStream("nested too deeply to be relayed")
        if "model" in body:
            body["model"] = call.model
        # Providers without usage report the length in the format `verbose_json`.
        usage = read_openai_usage(body.get("usage") or {"seconds": body.get("duration")})
        return Answer(body, usage, "", delivered=bool(body["text"].strip()))

    def parse_error(self, status: int, data: bytes, call: ChatCall, target: Target) -> ProviderError:
        """Parse an error, as for chats."""
        return read_openai_error(status, data, call.model, target)


TRANSCRIPTIONS = Transcriptions()


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise MalformedStream("not UTF-8") from None


def _has_speech(text: str, format: str) -> bool:
    """Return whether a transcript has any speech. Raises `MalformedStream` if it has another format, such as an HTML page."""
    start = text.lstrip("\ufeff \t\r\n")
    if not start:
        return False
    if start[:9].lower().startswith(("<!doctype", "<html")):
        raise MalformedStream("an HTML page instead of text")
    if format == "text":
        return True
    if not start.startswith("WEBVTT") if format == "vtt" else "-->" not in start:
        raise MalformedStream("not captions")
    cue = False
    for line in start.splitlines():
        if "-->" in line:
            cue = True
        elif not line.strip():
            cue = False
        elif cue:
            return True
    return False
