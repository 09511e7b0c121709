"""A body becomes a frozen, validated media call. Raises `InvalidRequest` that names the field.

The two surfaces take the same fields. The native one knows no others; OpenAI's passes unknown ones on, as chat does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from edge.http.fields import LONGEST_MODEL, json_object, only_fields
from shared.billing.pricing import MediaUnits
from shared.core.errors import InvalidRequest
from shared.dialects.media import MediaCall

LONGEST_PROMPT = 32_000  # characters; the longest that OpenAI takes
MOST_PICTURES = 10
MOST_SECONDS = 60
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
# Of the surfaces, not for the vendor.
_OURS = ("callback_url", "response_format", "stream_format", "stream", "partial_images")

Body = Mapping[str, Any]


def native(kind: str, data: bytes) -> tuple[MediaCall, str | None]:
    """The call of `POST /api/media/<kind>/`, and its `callback_url`."""
    body = json_object(data)
    only_fields("", body, (*FIELDS[kind], "callback_url"))
    callback = body.get("callback_url")
    if callback is not None and not isinstance(callback, str):
        raise InvalidRequest("'callback_url' must be a string.", "callback_url")
    return media_call(kind, body), callback


def media_call(kind: str, body: Body) -> MediaCall:
    """The call that a body asks for."""
    model = body.get("model")
    if not isinstance(model, str) or not model or len(model) > LONGEST_MODEL:
        raise InvalidRequest("'model' must be the id of a model; GET /v1/models lists them.", "model")
    for name in ("user", "safety_identifier"):
        _string(body, name, 512)
    units, options, changes = _READERS[kind](body)
    passed = {name: value for name, value in body.items() if name not in _OURS and value is not None}
    return MediaCall(kind, model, {**passed, **changes}, units, options)


Read = tuple[MediaUnits, dict[str, Any], dict[str, Any]]


def _image(body: Body) -> Read:
    _prompt(body, "prompt")
    count = _whole(body, "n", 1, MOST_PICTURES) or 1
    size = _matching(body, "size", _SIZE, "'auto', or width x height such as 1024x1024")
    for name in ("quality", "style", "background", "moderation"):
        _matching(body, name, _WORD, "one word")
    wanted = _one_of(body, "output_format", IMAGE_FORMATS)
    _whole(body, "output_compression", 0, 100)
    options = {"n": count, "size": size, "format": wanted}
    return MediaUnits(count), _known(options), {"n": count}


def _speech(body: Body) -> Read:
    text = _prompt(body, "input")
    voice = body.get("voice")
    if voice is not None and not isinstance(voice, str | dict):
        raise InvalidRequest("'voice' must be the name of a voice.", "voice")
    _string(body, "instructions", LONGEST_PROMPT)
    speed = body.get("speed")
    if speed is not None and (isinstance(speed, bool) or not isinstance(speed, int | float) or not 0.25 <= speed <= 4):
        raise InvalidRequest("'speed' must be a number from 0.25 to 4.", "speed")
    if body.get("stream_format") not in (None, "audio"):
        raise InvalidRequest("'stream_format' must be audio: speech is sent when it is whole.", "stream_format")
    wanted = _one_of(body, "response_format", SPEECH_FORMATS) or "mp3"
    options = {"characters": len(text), "format": wanted}
    return MediaUnits(characters=len(text)), options, {"voice": voice or DEFAULT_VOICE, "response_format": wanted}


def _video(body: Body) -> Read:
    _prompt(body, "prompt")
    if body.get("input_reference") is not None:
        raise InvalidRequest("'input_reference' is not supported here; describe the scene in 'prompt'.", "input_reference")
    seconds = _seconds(body.get("seconds"))
    size = _matching(body, "size", _SIZE, "width x height such as 1280x720")
    _matching(body, "quality", _WORD, "one word")
    return MediaUnits(seconds=seconds), _known({"seconds": seconds, "size": size}), {"seconds": str(seconds)}


_READERS: dict[str, Callable[[Body], Read]] = {"image": _image, "speech": _speech, "video": _video}


def _prompt(body: Body, name: str) -> str:
    text = body.get(name)
    if not isinstance(text, str) or not text.strip():
        raise InvalidRequest(f"'{name}' must be a string that is not empty.", name)
    if len(text) > LONGEST_PROMPT:
        raise InvalidRequest(f"'{name}' must have {LONGEST_PROMPT} characters at most; it has {len(text)}.", name)
    return text


def _string(body: Body, name: str, longest: int) -> None:
    value = body.get(name)
    if value is not None and (not isinstance(value, str) or len(value) > longest):
        raise InvalidRequest(f"'{name}' must be a string of {longest} characters at most.", name)


def _whole(body: Body, name: str, low: int, high: int) -> int | None:
    value = body.get(name)
    if value is not None and (type(value) is not int or not low <= value <= high):
        raise InvalidRequest(f"'{name}' must be a whole number from {low} to {high}.", name)
    return value


def _seconds(value: object) -> int:
    """OpenAI's SDKs send the number as a string."""
    if value is None:
        return DEFAULT_SECONDS
    number = int(value) if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 4 else value
    if type(number) is not int or not 1 <= number <= MOST_SECONDS:
        raise InvalidRequest(f"'seconds' must be a whole number from 1 to {MOST_SECONDS}.", "seconds")
    return number


def _matching(body: Body, name: str, pattern: re.Pattern[str], what: str) -> str | None:
    value = body.get(name)
    if value is not None and (not isinstance(value, str) or not pattern.fullmatch(value)):
        raise InvalidRequest(f"'{name}' must be {what}.", name)
    return value


def _one_of(body: Body, name: str, known: tuple[str, ...]) -> str | None:
    value = body.get(name)
    if value is not None and value not in known:
        raise InvalidRequest(f"'{name}' must be one of {', '.join(known)}.", name)
    found: str | None = value
    return found


def _known(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
