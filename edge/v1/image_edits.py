"""`POST /v1/images/edits` and `/v1/images/variations`: media jobs that generate images from input images.

The body is a form with the images as files. Edits can also be JSON, with the images as data URLs.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import re
from functools import partial
from typing import Annotated, Any, NamedTuple

import msgspec
import orjson
from msgspec import Meta
from quart import Blueprint, Response, request

from edge.http.api_spec import CALL_ERRORS, FORM, KEY, describe_route
from edge.http.body_types import Body, check_body
from edge.http.json_body import parse_json_object
from edge.http.multipart import Form, read_form
from edge.http.tags import nest_form_metadata
from edge.media import requests, submission
from edge.request_context import read_body
from edge.v1.images import IMAGES, ResponseFormat, refuse_stream, respond_with_images
from shared.core.errors import InvalidRequest, Unavailable
from shared.dialects.media import MediaCall

image_edits = Blueprint("image_edits", __name__)

_FILE: dict[str, Any] = {"type": "string", "format": "binary"}
_FILE_FIELDS = (*requests.IMAGE_FIELDS, "images", "mask")
_DATA_URL = re.compile(r"data:image/[\w.+-]{1,40};base64,", re.ASCII)
_NO_FORM = "The body must be multipart/form-data with the fields 'image' and 'model'."


class VariationForm(requests.ImageSettings, kw_only=True):
    """An image to vary. Fields of unknown cost are refused."""

    image: Annotated[Any, Meta(description="The image: PNG, JPEG or WebP.", extra_json_schema=_FILE)] = None
    response_format: ResponseFormat = None


class EditForm(requests.ImageRequest, kw_only=True):
    """Images to edit. Fields of unknown cost are refused."""

    image: Annotated[Any, Meta(description="An image to edit: PNG, JPEG or WebP.", extra_json_schema=_FILE)] = None
    images: Annotated[
        Any,
        Meta(
            description="Several images to edit, at most 16.",
            extra_json_schema={"type": "array", "items": _FILE},
        ),
    ] = msgspec.field(default=None, name="image[]")
    mask: Annotated[Any, Meta(description="A PNG image whose transparent areas show where to edit.", extra_json_schema=_FILE)] = (
        None
    )
    response_format: ResponseFormat = None


class ImageReference(Body):
    """An image in JSON."""

    image_url: Annotated[str, Meta(description="A data URL: `data:image/png;base64,…`.")]


class EditRequest(requests.ImageRequest, kw_only=True):
    """Images to edit, in JSON. Fields of unknown cost are refused."""

    images: Annotated[
        list[ImageReference],
        Meta(min_length=1, max_length=requests.MAX_INPUT_IMAGES, description="The images to edit."),
    ]
    mask: Annotated[ImageReference | None, Meta(description="A PNG image whose transparent areas show where to edit.")] = None
    response_format: ResponseFormat = None


FORMS: dict[str, type[EditForm | VariationForm]] = {"edit": EditForm, "variation": VariationForm}


class ParsedImages(NamedTuple):
    """A parsed request. `idempotency_body` is equal for equal forms, although their bytes differ by the boundary."""

    call: MediaCall
    response_format: str | None
    idempotency_body: bytes


def parse_form(operation: str, data: bytes, content_type: str) -> ParsedImages:
    """Parse a form. Raises `InvalidRequest`."""
    form = read_form(data, content_type)
    body = _fields(form)
    requested = check_body(body, FORMS[operation], strict=False)
    refuse_stream(body)
    files = [(name, file.data) for name, file in form.files]
    digests = [(name, hashlib.sha256(file).hexdigest()) for name, file in files]
    same = orjson.dumps([operation, sorted(form.fields), digests])
    return ParsedImages(requests.image_call(operation, body, requested, files), requested.response_format, same)


def parse_json(data: bytes) -> ParsedImages:
    """Parse the JSON body of an edit. Raises `InvalidRequest`."""
    body = parse_json_object(data)
    requested = check_body(body, EditRequest)
    refuse_stream(body)
    files = [("image[]", _decoded(image, f"images[{index}]")) for index, image in enumerate(requested.images)]
    if requested.mask is not None:
        files.append(("mask", _decoded(requested.mask, "mask")))
    passed = {name: value for name, value in body.items() if name not in ("images", "mask")}
    _refuse_text_files(passed)
    return ParsedImages(requests.image_call("edit", passed, requested, files), requested.response_format, data)


def _fields(form: Form) -> dict[str, Any]:
    """Return the non-empty fields of a form. Raises `InvalidRequest` if one is repeated, or should be a file."""
    body: dict[str, str] = {}
    for name, value in form.fields:
        if name in body:
            raise InvalidRequest(f"'{name}' must not be repeated.", name)
        body[name] = value
    _refuse_text_files(body)
    return nest_form_metadata({name: value for name, value in body.items() if value})


def _refuse_text_files(body: dict[str, Any]) -> None:
    for name in _FILE_FIELDS:
        if name in body:
            raise InvalidRequest(
                f"'{name}' must be a file in a form. In JSON, send 'images', a list of objects with an 'image_url'.", name
            )


def _decoded(image: ImageReference, where: str) -> bytes:
    """Return the image of a reference in JSON, which must be a data URL."""
    param = f"{where}.image_url"
    start = _DATA_URL.match(image.image_url)
    if start is None:
        raise InvalidRequest(f"'{param}' must be a data URL: data:image/png;base64,…", param)
    try:
        return base64.b64decode(image.image_url[start.end() :], validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest(f"'{param}' is not valid base64.", param) from None


async def _respond(operation: str) -> Response:
    terms = await submission.read_context(key_only=True)
    data = await read_body()
    content_type = request.headers.get("content-type", "")
    if content_type.lower().startswith("multipart/form-data"):
        parse = partial(parse_form, operation, data, content_type)
    elif operation == "edit":
        parse = partial(parse_json, data)
    else:
        raise InvalidRequest(_NO_FORM)
    parsed = await asyncio.to_thread(parse)  # images may be large
    return await respond_with_images(parsed.call, terms.for_body(parsed.idempotency_body), parsed.response_format)


_SPEC: dict[str, Any] = {
    "callers": KEY,
    "responses": {200: IMAGES},
    "errors": (*CALL_ERRORS, Unavailable),
    "body_type": FORM,
}


@image_edits.post("/v1/images/edits")
@describe_route(
    "Edit images",
    **_SPEC,
    body=EditForm,
    notes="Creates a media job and waits until it ends. A JSON body has the images as `images`, a list of objects with a data URL"
    " as `image_url`, and the `mask` as such an object.",
)
async def edit() -> Response:
    """Edit images as the prompt describes."""
    return await _respond("edit")


@image_edits.post("/v1/images/variations")
@describe_route(
    "Create variations of an image",
    **_SPEC,
    body=VariationForm,
    notes="Creates a media job and waits until it ends.",
)
async def create_variation() -> Response:
    """Create variations of an image."""
    return await _respond("variation")
