"""OpenAI's media formats: images, speech and video.

    image     POST /images/generations     JSON with `b64_json` or `url` for each image
              POST /images/edits, /images/variations    the same for a form with images
    speech    POST /audio/speech           the audio file itself
    video     POST /videos, GET /videos/{id}, GET /videos/{id}/content

Settings of a channel, in addition to `body` and `headers` as for chat:

    media_body      replaces `body` for media, if the provider's media endpoints need other fields: {} for none
    image_format    "b64_json" or "url", for providers that require it; GPT image models reject the field
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any
from urllib.parse import quote

import orjson

from shared.billing.token_usage import reported_cost
from shared.dialects.base import ProviderError, ProviderRequest, Target
from shared.dialects.form_body import FilePart, form_body, form_fields
from shared.dialects.identity import pseudonymize
from shared.dialects.media import (
    AuthenticatedDownload,
    FileUrl,
    InputFile,
    MalformedAnswer,
    MediaAnswer,
    MediaCall,
    MediaDialect,
    MediaFile,
)
from shared.dialects.openai import read_openai_error, request_headers

_JOB_ID = re.compile(r"[\w.:-]{1,200}", re.ASCII)
_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}", re.ASCII)
_WORKING = ("queued", "in_progress", "running", "processing")
OPERATION_PATHS = {"edit": "/images/edits", "variation": "/images/variations"}


class _OpenAIMedia:
    """Common part of the three formats."""

    body_is_file = False
    path = ""

    def build_request(self, call: MediaCall, target: Target) -> ProviderRequest:
        """Return the request for `call`, with the provider's model name, pseudonyms, and the channel's extra fields."""
        body = self._body(call, target)
        url = target.route.base_url + self.path
        return ProviderRequest("POST", url, request_headers(target), orjson.dumps(body), tuple(body))

    def _body(self, call: MediaCall, target: Target) -> dict[str, Any]:
        body = {**call.body, "model": target.route.upstream_model}
        pseudonymize(body, target)
        self._adapt(body, target)
        settings = target.route.settings
        body.update(settings.get("media_body", settings.get("body")) or {})
        return body

    def build_poll_request(self, provider_job: str, target: Target) -> ProviderRequest:  # noqa: ARG002  (as in `MediaDialect`)
        """Only video has jobs to poll."""
        raise MalformedAnswer("this format has no jobs")

    def parse_error(self, status: int, data: bytes, call: MediaCall, target: Target) -> ProviderError:
        """Parse an error. Only 400, 413 and 422 concern the request."""
        return read_openai_error(status, data, call.model, target)

    def _adapt(self, body: dict[str, Any], target: Target) -> None:
        pass


class OpenAIImages(_OpenAIMedia):
    """Images."""

    path = "/images/generations"

    def build_request(self, call: MediaCall, target: Target) -> ProviderRequest:
        """Return the request: a form if it has input images, or else JSON. The caller's file names are not sent."""
        path = OPERATION_PATHS.get(call.options.get("operation", ""))
        if path is None:
            return super().build_request(call, target)
        files = [FilePart(file.field, _file_name(file), file.media_type, file.data) for file in call.files]
        fields = list(form_fields(self._body(call, target)))
        content_type, body = form_body(fields, files)
        headers = {**dict(request_headers(target)), "content-type": content_type}
        names = tuple(dict.fromkeys([*(name for name, _ in fields), *(file.field for file in files)]))
        return ProviderRequest("POST", target.route.base_url + path, tuple(headers.items()), body, names)

    def parse_response(self, data: bytes, target: Target) -> MediaAnswer:  # noqa: ARG002  (as in `MediaDialect`)
        """Return the images. A damaged one is left out, as if it had not been delivered."""
        body = _object(data)
        items = body.get("data")
        if not isinstance(items, list):
            raise MalformedAnswer("not a list of images")
        images = tuple(piece for item in items if (piece := _image(item)) is not None)
        return MediaAnswer(images, cost_nano_usd=reported_cost(body))

    def _adapt(self, body: dict[str, Any], target: Target) -> None:
        if target.route.settings.get("image_format"):
            body["response_format"] = target.route.settings["image_format"]


class OpenAISpeech(_OpenAIMedia):
    """Speech: the response body is the file."""

    body_is_file = True
    path = "/audio/speech"

    def parse_response(self, data: bytes, target: Target) -> MediaAnswer:  # noqa: ARG002  (as in `MediaDialect`)
        """Not called: the body is stored as it arrives."""
        return MediaAnswer((data,))


class OpenAIVideos(_OpenAIMedia):
    """Video: a job at the provider."""

    path = "/videos"

    def parse_response(self, data: bytes, target: Target) -> MediaAnswer:
        """Return the state of the provider's job, and where to download the video."""
        body = _object(data)
        id, status, progress = body.get("id"), body.get("status"), body.get("progress")
        if not isinstance(id, str) or not _JOB_ID.fullmatch(id) or not isinstance(status, str):
            raise MalformedAnswer("not a video job")
        if status == "completed":
            video = AuthenticatedDownload(self._get(f"/videos/{quote(id, safe='')}/content", target))
            return MediaAnswer((video,), id, 100, cost_nano_usd=reported_cost(body))
        if status in _WORKING:
            percent = int(progress) if isinstance(progress, int | float) and 0 <= progress <= 100 else None
            return MediaAnswer((), id, percent)
        error = body.get("error")
        code = error.get("code") if isinstance(error, dict) else None
        return MediaAnswer((), id, None, code if isinstance(code, str) and _CODE.fullmatch(code) else "upstream_error")

    def build_poll_request(self, provider_job: str, target: Target) -> ProviderRequest:
        return self._get(f"/videos/{quote(provider_job, safe='')}", target)

    def _get(self, path: str, target: Target) -> ProviderRequest:
        return ProviderRequest("GET", target.route.base_url + path, request_headers(target), b"")


MEDIA_DIALECTS: dict[tuple[str, str], MediaDialect] = {
    ("openai", "image"): OpenAIImages(),
    ("openai", "speech"): OpenAISpeech(),
    ("openai", "video"): OpenAIVideos(),
}


def _file_name(file: InputFile) -> str:
    return f"{file.field.removesuffix('[]')}.{file.media_type.partition('/')[2]}"


def _object(data: bytes) -> dict[str, Any]:
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise MalformedAnswer("not JSON") from None
    if not isinstance(body, dict):
        raise MalformedAnswer("not a JSON object")
    return body


def _image(item: object) -> MediaFile | None:
    if not isinstance(item, dict):
        return None
    encoded, url = item.get("b64_json"), item.get("url")
    if isinstance(encoded, str) and encoded:
        try:
            return base64.b64decode(encoded.partition("base64,")[2] or encoded)  # some providers send a data URL
        except binascii.Error:
            return None
    return FileUrl(url) if isinstance(url, str) and url else None
