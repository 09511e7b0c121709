"""The `openai` wire formats of media: pictures, speech and video, as OpenAI and those who copy it speak them.

    image     POST /images/generations     JSON with `b64_json` or `url` for each picture
    speech    POST /audio/speech           the sound itself
    video     POST /videos, GET /videos/{id}, GET /videos/{id}/content

A channel's `settings` may hold, besides those of the chat dialect (`body`, `headers`):

    media_body      what `body` is for chat, where the vendor's media endpoints take other fields: {} for none
    image_format    "b64_json" or "url", for vendors that want to be asked; GPT image models refuse the field
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any
from urllib.parse import quote

import orjson

from shared.dialects.base import Target, VendorError, VendorRequest
from shared.dialects.media import Download, Link, MalformedAnswer, MediaAnswer, MediaCall, MediaDialect, Piece
from shared.dialects.openai import read_openai_error, request_headers

_VENDOR_JOB = re.compile(r"[\w.:-]{1,200}", re.ASCII)
_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}", re.ASCII)
_WORKING = ("queued", "in_progress", "running", "processing")
_IDENTITY_FIELDS = ("user", "safety_identifier")


class _OpenAIMedia:
    """What the three formats share."""

    raw = False
    path = ""

    def begin(self, call: MediaCall, target: Target) -> VendorRequest:
        """The request for `call`: model renamed, identity replaced, the vendor's signals against keeping content added."""
        body = {**call.body, "model": target.route.upstream_model}
        for name in _IDENTITY_FIELDS:
            if body.get(name) is not None:
                body[name] = target.pseudonym(str(body[name]))
        self._adapt(body, target)
        settings = target.route.settings
        body.update(settings.get("media_body", settings.get("body")) or {})
        return VendorRequest("POST", target.route.base_url + self.path, request_headers(target), orjson.dumps(body))

    def poll(self, vendor_job: str, target: Target) -> VendorRequest:  # noqa: ARG002  (as `MediaDialect` has it)
        """Only video goes on after its answer."""
        raise MalformedAnswer("this format has no jobs")

    def read_error(self, status: int, data: bytes, call: MediaCall, target: Target) -> VendorError:
        """Read an error answer. Only 400, 413 and 422 are about the request."""
        return read_openai_error(status, data, call.model, target)

    def _adapt(self, body: dict[str, Any], target: Target) -> None:
        pass


class OpenAIImages(_OpenAIMedia):
    """Pictures."""

    path = "/images/generations"

    def read(self, data: bytes, target: Target) -> MediaAnswer:  # noqa: ARG002  (as `MediaDialect` has it)
        """The pictures that came; one that is damaged is left out, as one that never came."""
        items = _object(data).get("data")
        if not isinstance(items, list):
            raise MalformedAnswer("no list of pictures")
        return MediaAnswer(tuple(piece for item in items if (piece := _picture(item)) is not None))

    def _adapt(self, body: dict[str, Any], target: Target) -> None:
        if target.route.settings.get("image_format"):
            body["response_format"] = target.route.settings["image_format"]


class OpenAISpeech(_OpenAIMedia):
    """Speech: the answer's body is the file."""

    raw = True
    path = "/audio/speech"

    def read(self, data: bytes, target: Target) -> MediaAnswer:  # noqa: ARG002  (as `MediaDialect` has it)
        """Never asked: the body goes to the storage as it comes."""
        return MediaAnswer((data,))


class OpenAIVideos(_OpenAIMedia):
    """Video: a job of the vendor's own."""

    path = "/videos"

    def read(self, data: bytes, target: Target) -> MediaAnswer:
        """How the vendor's job is, and where its film can be had."""
        body = _object(data)
        id, status, progress = body.get("id"), body.get("status"), body.get("progress")
        if not isinstance(id, str) or not _VENDOR_JOB.fullmatch(id) or not isinstance(status, str):
            raise MalformedAnswer("no video job")
        if status == "completed":
            return MediaAnswer((Download(self._get(f"/videos/{quote(id, safe='')}/content", target)),), id, 100)
        if status in _WORKING:
            told = int(progress) if isinstance(progress, int | float) and 0 <= progress <= 100 else None
            return MediaAnswer((), id, told)
        error = body.get("error")
        code = error.get("code") if isinstance(error, dict) else None
        return MediaAnswer((), id, None, code if isinstance(code, str) and _CODE.fullmatch(code) else "upstream_error")

    def poll(self, vendor_job: str, target: Target) -> VendorRequest:
        return self._get(f"/videos/{quote(vendor_job, safe='')}", target)

    def _get(self, path: str, target: Target) -> VendorRequest:
        return VendorRequest("GET", target.route.base_url + path, request_headers(target), b"")


MEDIA_DIALECTS: dict[tuple[str, str], MediaDialect] = {
    ("openai", "image"): OpenAIImages(),
    ("openai", "speech"): OpenAISpeech(),
    ("openai", "video"): OpenAIVideos(),
}


def _object(data: bytes) -> dict[str, Any]:
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise MalformedAnswer("not JSON") from None
    if not isinstance(body, dict):
        raise MalformedAnswer("no JSON object")
    return body


def _picture(item: object) -> Piece | None:
    if not isinstance(item, dict):
        return None
    encoded, url = item.get("b64_json"), item.get("url")
    if isinstance(encoded, str) and encoded:
        try:
            return base64.b64decode(encoded.partition("base64,")[2] or encoded)  # some vendors send a data URL
        except binascii.Error:
            return None
    return Link(url) if isinstance(url, str) and url else None
