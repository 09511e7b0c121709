"""Validates media requests. All functions raise `InvalidRequest` with the field's name.

The native API and OpenAI's paths have the same fields. The native API rejects unknown fields; OpenAI's paths forward them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from edge.http.fields import MAX_MODEL_LENGTH, parse_json_object, reject_unknown_fields
from shared.billing.pricing import MediaUnits
from shared.core.errors import InvalidRequest
from shared.dialects.media import MediaCall

MAX_PROMPT_LENGTH = 32_000  # characters, as at OpenAI
MAX_IMAGES = 10
MAX_SECONDS = 60
DEFAULT_SECONDS = 4
IMAGE_FORMATS = ("png", "jpeg", "webp", "gif")
SPEECH_FORMATS = ("mp3", "opus", "aac", "flac", "wav", "pcm")
DEFAULT_VOICE = "alloy"
_SIZE = re.compile(r"auto|[1-9]\d{1,4}x[1-9]\d{1,4}", re.ASCII)
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,39}", re.ASCII)

_COMMON = ("model", "user", "safety_identifier")
FIELDS = {
    "image": (
        *_COMMON,
        "prompt",
        "n",
        "size",
        "quality",
        "style",
        "background",
        "moderation",
        "output_format",
        "output_compression",
    ),
    "speech": (*_COMMON, "input", "voice", "instructions", "speed", "response_format"),
    "video": (*_COMMON, "prompt", "seconds", "size", "quality"),
}
# Fields that are not forwarded to the provider.
_OWN_FIELDS = ("callback_url", "response_format", "stream_format", "stream", "partial_images")

Body = Mapping[str, Any]


def parse_native_request(kind: str, data: bytes) -> tuple[MediaCall, str | None]:
    """Parse the body of `POST /api/media/<kind>/`. Return the call and its `callback_url`."""
    body = parse_json_object(data)
    reject_unknown_fields("", body, (*FIELDS[kind], "callback_url"))
    callback = body.get("callback_url")
    if callback is not None and not isinstance(callback, str):
        raise InvalidRequest("'callback_url' must be a string.", "callback_url")
    return build_media_call(kind, body), callback


def build_media_call(kind: str, body: Body) -> MediaCall:
    """Return the validated call of a body."""
    model = body.get("model")
    if not isinstance(model, str) or not model or len(model) > MAX_MODEL_LENGTH:
        raise InvalidRequest("'model' must be a model id; see GET /v1/models.", "model")
    for name in ("user", "safety_identifier"):
        _string(body, name, 512)
    units, options, changes = _READERS[kind](body)
    passed = {name: value for name, value in body.items() if name not in _OWN_FIELDS and value is not None}
    return MediaCall(kind, model, {**passed, **changes}, units, options)


Read = tuple[MediaUnits, dict[str, Any], dict[str, Any]]


def _image(body: Body) -> Read:
    _prompt(body, "prompt")
    count = _whole(body, "n", 1, MAX_IMAGES) or 1
    size = _matching(body, "size", _SIZE, "'auto', or WIDTHxHEIGHT such as 1024x1024")
    for name in ("quality", "style", "background", "moderation"):
        _matching(body, name, _WORD, "one word")
    output_format = _one_of(body, "output_format", IMAGE_FORMATS)
    _whole(body, "output_compression", 0, 100)
    options = {"n": count, "size": size, "format": output_format}
    return MediaUnits(count), _without_none(options), {"n": count}


def _speech(body: Body) -> Read:
    text = _prompt(body, "input")
    voice = body.get("voice")
    if voice is not None and not isinstance(voice, str | dict):
        raise InvalidRequest("'voice' must be a voice name.", "voice")
    _string(body, "instructions", MAX_PROMPT_LENGTH)
    speed = body.get("speed")
    if speed is not None and (isinstance(speed, bool) or not isinstance(speed, int | float) or not 0.25 <= speed <= 4):
        raise InvalidRequest("'speed' must be a number between 0.25 and 4.", "speed")
    if body.get("stream_format") not in (None, "audio"):
        raise InvalidRequest("'stream_format' must be 'audio'; streaming speech is not supported.", "stream_format")
    audio_format = _one_of(body, "response_format", SPEECH_FORMATS) or "mp3"
    options = {"characters": len(text), "format": audio_format}
    return MediaUnits(characters=len(text)), options, {"voice": voice or DEFAULT_VOICE, "response_format": audio_format}


def _video(body: Body) -> Read:
    _prompt(body, "prompt")
    if body.get("input_reference") is not None:
        raise InvalidRequest("'input_reference' is not supported. Describe the scene in 'prompt'.", "input_reference")
    seconds = _seconds(body.get("seconds"))
    size = _matching(body, "size", _SIZE, "WIDTHxHEIGHT such as 1280x720")
    _matching(body, "quality", _WORD, "one word")
    return MediaUnits(seconds=seconds), _without_none({"seconds": seconds, "size": size}), {"seconds": str(seconds)}


_READERS: dict[str, Callable[[Body], Read]] = {"image": _image, "speech": _speech, "video": _video}


def _prompt(body: Body, name: str) -> str:
    text = body.get(name)
    if not isinstance(text, str) or not text.strip():
        raise InvalidRequest(f"'{name}' must be a non-empty string.", name)
    if len(text) > MAX_PROMPT_LENGTH:
        raise InvalidRequest(f"'{name}' must have at most {MAX_PROMPT_LENGTH} characters, but has {len(text)}.", name)
    return text


def _string(body: Body, name: str, max_length: int) -> None:
    value = body.get(name)
    if value is not None and (not isinstance(value, str) or len(value) > max_length):
        raise InvalidRequest(f"'{name}' must be a string of at most {max_length} characters.", name)


def _whole(body: Body, name: str, low: int, high: int) -> int | None:
    value = body.get(name)
    if value is not None and (type(value) is not int or not low <= value <= high):
        raise InvalidRequest(f"'{name}' must be an integer between {low} and {high}.", name)
    return value


def _seconds(value: object) -> int:
    """Parse `seconds`, which OpenAI's SDKs send as a string."""
    if value is None:
        return DEFAULT_SECONDS
    number = int(value) if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 4 else value
    if type(number) is not int or not 1 <= number <= MAX_SECONDS:
        raise InvalidRequest(f"'seconds' must be an integer between 1 and {MAX_SECONDS}.", "seconds")
    return number


def _matching(body: Body, name: str, pattern: re.Pattern[str], expected: str) -> str | None:
    value = body.get(name)
    if value is not None and (not isinstance(value, str) or not pattern.fullmatch(value)):
        raise InvalidRequest(f"'{name}' must be {expected}.", name)
    return value


def _one_of(body: Body, name: str, allowed: tuple[str, ...]) -> str | None:
    value = body.get(name)
    if value is not None and value not in allowed:
        raise InvalidRequest(f"'{name}' must be one of {', '.join(allowed)}.", name)
    found: str | None = value
    return found


def _without_none(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
