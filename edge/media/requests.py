"""The bodies of media requests.

The native API and OpenAI's paths have the same fields. The native API rejects unknown fields; on OpenAI's paths, the table of
cost effects (`shared.billing.cost_effects`) decides which are forwarded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from msgspec import Meta

from edge.http.body_types import Body, ModelId, Object, check_body
from edge.http.json_body import parse_json_object
from edge.http.tags import OwnMetadata, split_tag
from shared.billing.pricing import MediaUnits
from shared.core.errors import InvalidRequest
from shared.dialects.media import InputFile, MediaCall
from shared.text.media_types import HEAD_BYTES, detect_media_type

MAX_PROMPT_LENGTH = 32_000  # characters; OpenAI's limit
MAX_IMAGES = 10
MAX_SECONDS = 60
DEFAULT_SECONDS = 4
DEFAULT_VOICE = "alloy"
MAX_INPUT_IMAGES = 16  # OpenAI's limit
IMAGE_FIELDS = ("image", "image[]")
INPUT_TYPES = ("image/png", "image/jpeg", "image/webp")
MASK_TYPES = ("image/png",)
# Fields that are not forwarded to the provider.
_OWN_FIELDS = ("callback_url", "response_format", "stream_format", "stream", "partial_images")

# `(?!\n)`: in Python, `$` also matches before a final line break.
Size = Annotated[
    str,
    Meta(
        pattern=r"^(auto|[1-9][0-9]{1,4}x[1-9][0-9]{1,4})(?!\n)$",
        extra={"expected": "'auto', or WIDTHxHEIGHT such as 1024x1024"},
    ),
]
Word = Annotated[str, Meta(pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,39}(?!\n)$", extra={"expected": "one word"})]
Text = Annotated[
    str,
    Meta(
        pattern=r"\S",
        max_length=MAX_PROMPT_LENGTH,
        extra={"expected": f"a non-empty string of at most {MAX_PROMPT_LENGTH} characters"},
    ),
]
EndUser = Annotated[str, Meta(max_length=512)]
Seconds = Annotated[int, Meta(ge=1, le=MAX_SECONDS)] | Annotated[str, Meta(pattern=r"^0{0,2}([1-9]|[1-5][0-9]|60)(?!\n)$")]


class MediaRequest(Body, kw_only=True):
    """The fields of all media requests."""

    model: ModelId
    user: Annotated[EndUser | None, Meta(description="Your id of the end user.")] = None
    safety_identifier: Annotated[EndUser | None, Meta(description="Your id of the end user, for abuse detection.")] = None


class ImageSettings(MediaRequest, kw_only=True):
    """Number, size and format of the images."""

    n: Annotated[Annotated[int, Meta(ge=1, le=MAX_IMAGES)] | None, Meta(description="Number of images. Default: 1.")] = None
    size: Annotated[Size | None, Meta(description="Width and height in pixels, such as `1024x1024`.")] = None
    quality: Annotated[Word | None, Meta(description="Quality, in the model's own terms.")] = None
    style: Annotated[Word | None, Meta(description="Style, in the model's own terms.")] = None
    background: Annotated[Word | None, Meta(description="Background, such as `transparent`.")] = None
    moderation: Annotated[Word | None, Meta(description="Strictness of the provider's moderation.")] = None
    output_format: Annotated[Literal["png", "jpeg", "webp", "gif"] | None, Meta(description="File format.")] = None
    output_compression: Annotated[
        Annotated[int, Meta(ge=0, le=100)] | None, Meta(description="Compression of `jpeg` and `webp`, in percent.")
    ] = None


class ImageRequest(ImageSettings, kw_only=True):
    """Images to generate."""

    EXAMPLE = {"model": "$image", "prompt": "A lighthouse"}

    prompt: Annotated[Text, Meta(description="What the images should show.")]


class SpeechRequest(MediaRequest, kw_only=True):
    """Speech to generate from a text."""

    EXAMPLE = {"model": "$speech", "input": "Hello"}

    input: Annotated[Text, Meta(description="The text to speak.")]
    voice: Annotated[
        str | Object | None, Meta(description="Name of a voice. Default: `alloy`.", extra={"expected": "a voice name"})
    ] = None
    instructions: Annotated[
        Annotated[str, Meta(max_length=MAX_PROMPT_LENGTH)] | None, Meta(description="How to speak, such as tone and pace.")
    ] = None
    speed: Annotated[Annotated[float, Meta(ge=0.25, le=4)] | None, Meta(description="Speed. Default: 1.")] = None
    response_format: Annotated[
        Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] | None, Meta(description="File format. Default: `mp3`.")
    ] = None


class VideoRequest(MediaRequest, kw_only=True):
    """A video to generate."""

    EXAMPLE = {"model": "$video", "prompt": "A lighthouse"}

    prompt: Annotated[Text, Meta(description="What the video should show.")]
    seconds: Annotated[
        Seconds | None,
        Meta(
            description="Length in seconds, as a number or a string. Default: 4.",
            extra={"expected": f"an integer between 1 and {MAX_SECONDS}"},
        ),
    ] = None
    size: Annotated[Size | None, Meta(description="Width and height in pixels, such as `1280x720`.")] = None
    quality: Annotated[Word | None, Meta(description="Quality, in the model's own terms.")] = None


CallbackUrl = Annotated[str | None, Meta(description="Receives a webhook when the job ends.")]


class ImageJob(ImageRequest, kw_only=True, forbid_unknown_fields=True):
    """A job that generates images."""

    callback_url: CallbackUrl = None
    metadata: OwnMetadata = None


class SpeechJob(SpeechRequest, kw_only=True, forbid_unknown_fields=True):
    """A job that generates speech."""

    callback_url: CallbackUrl = None
    metadata: OwnMetadata = None


class VideoJob(VideoRequest, kw_only=True, forbid_unknown_fields=True):
    """A job that generates a video."""

    callback_url: CallbackUrl = None
    metadata: OwnMetadata = None


JOBS: dict[str, type[ImageJob | SpeechJob | VideoJob]] = {"image": ImageJob, "video": VideoJob, "speech": SpeechJob}


def parse_native_request(kind: str, data: bytes) -> tuple[MediaCall, str | None]:
    """Parse the body of `POST /api/media/<kind>/`. Return the call and its `callback_url`."""
    body = parse_json_object(data)
    job = check_body(body, JOBS[kind])
    return media_call(body, job), job.callback_url


def media_call(body: dict[str, Any], requested: MediaRequest) -> MediaCall:
    """Return the call of a parsed body, with its checked fields."""
    body, tag = split_tag(body)
    options: dict[str, Any]
    changes: dict[str, Any]
    match requested:
        case ImageSettings():
            count = requested.n or 1
            options = {"n": count, "size": requested.size, "format": requested.output_format}
            kind, units, changes = "image", MediaUnits(count), {"n": count}
        case SpeechRequest():
            format, characters = requested.response_format or "mp3", len(requested.input)
            options = {"characters": characters, "format": format}
            changes = {"voice": requested.voice or DEFAULT_VOICE, "response_format": format}
            kind, units = "speech", MediaUnits(characters=characters)
        case VideoRequest():
            seconds = DEFAULT_SECONDS if requested.seconds is None else int(requested.seconds)
            options = {"seconds": seconds, "size": requested.size}
            kind, units, changes = "video", MediaUnits(seconds=seconds), {"seconds": str(seconds)}
        case _:
            raise TypeError(f"not a media request: {requested!r}")
    passed = {name: value for name, value in body.items() if name not in _OWN_FIELDS and value is not None}
    kept = {name: value for name, value in options.items() if value is not None}
    return MediaCall(kind, requested.model, {**passed, **changes}, units, kept, tag=tag)


def image_call(operation: str, body: dict[str, Any], requested: ImageSettings, files: Sequence[tuple[str, bytes]]) -> MediaCall:
    """Return the call of an `edit` or a `variation`. `files` are pairs of a field and its file. Raises `InvalidRequest`."""
    call = media_call(body, requested)
    return call._replace(options={**call.options, "operation": operation}, files=_input_files(operation, files))


def _input_files(operation: str, files: Sequence[tuple[str, bytes]]) -> tuple[InputFile, ...]:
    """Check the files, and return them under the names of OpenAI's form: `image`, or `image[]` for several, and `mask`."""
    images = [data for name, data in files if name in IMAGE_FIELDS]
    masks = [data for name, data in files if name == "mask"]
    other = next((name for name, _ in files if name not in (*IMAGE_FIELDS, "mask")), None)
    most = MAX_INPUT_IMAGES if operation == "edit" else 1
    if other is not None or (masks and operation != "edit"):
        raise InvalidRequest(f"'{other or 'mask'}' must not be a file.", other or "mask")
    if not 1 <= len(images) <= most:
        counted = f"1 to {most} image files" if most > 1 else "one image file"
        raise InvalidRequest(f"'image' must be {counted}, but there are {len(images)}.", "image")
    if len(masks) > 1:
        raise InvalidRequest("'mask' must be one image file.", "mask")
    field = "image" if len(images) == 1 else "image[]"
    return (
        *(InputFile(field, _image_type("image", data, INPUT_TYPES), data) for data in images),
        *(InputFile("mask", _image_type("mask", data, MASK_TYPES), data) for data in masks),
    )


def _image_type(field: str, data: bytes, allowed: tuple[str, ...]) -> str:
    """Return the media type that the file's bytes have, whatever the client declared."""
    found = detect_media_type(data[:HEAD_BYTES])
    if found not in allowed:
        names = ", ".join(name.removeprefix("image/") for name in allowed)
        raise InvalidRequest(f"'{field}' must be an image file of the type {names}.", field)
    return found
