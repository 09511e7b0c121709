"""The endpoint POST /v1/images/generations, and the URLs of generated images."""

import base64
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from embedded.catalog import DEMO_IMAGE
from embedded.errors import ApiError, invalid_request
from embedded.json_fields import boolean, integer
from embedded.json_http import json_response, optional_choice, read_object, require_model, required_string
from embedded.model_loader import ModelLoader

OUTPUTS = "/outputs/"
SIZES = ("1024x1024", "1536x1024", "1024x1536", "1792x1024", "1024x1792", "512x512", "256x256")
FORMATS = ("png", "jpeg", "webp")
MAX_PROMPT_CHARACTERS = 32_000
MAX_IMAGES = 10
KEPT_BYTES = 64 * 2**20
"""Total size of the newest images that stay available at their URLs."""


@dataclass(frozen=True, slots=True)
class ImageRequest:
    prompt: str
    n: int
    width: int
    height: int
    format: str
    as_url: bool


class Images:
    """The endpoint, and the images that were requested as URLs."""

    def __init__(self, offer: ModelLoader) -> None:
        self._offer = offer
        self._kept: OrderedDict[str, tuple[bytes, str]] = OrderedDict()
        self._kept_bytes = 0

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/images/generations", self._create),
            web.post("/v1/images/edits", self._refuse),
            web.post("/v1/images/variations", self._refuse),
            web.get(OUTPUTS + "{name}", self._output),
        ]

    async def _refuse(self, _: web.Request) -> web.Response:
        raise invalid_request("model", f"{DEMO_IMAGE.id} cannot edit images, only generate them.", "unsupported_operation")

    async def _create(self, http: web.Request) -> web.Response:
        request = read_image_request(await read_object(http))
        self._offer.require_available()
        data = []
        for index in range(request.n):
            image = await self._offer.run(_render, request, index)
            data.append(self._image_object(image, request, http))
        size = f"{request.width}x{request.height}"
        return json_response({"created": int(time.time()), "data": data, "size": size, "output_format": request.format})

    async def _output(self, http: web.Request) -> web.Response:
        kept = self._kept.get(http.match_info["name"])
        if kept is None:
            raise ApiError(404, "This output does not exist or has expired.")
        return web.Response(body=kept[0], content_type=kept[1])

    def _image_object(self, image: bytes, request: ImageRequest, http: web.Request) -> dict[str, str]:
        if not request.as_url:
            return {"b64_json": base64.b64encode(image).decode()}
        name = f"{secrets.token_hex(16)}.{request.format}"
        self._kept[name] = (image, f"image/{request.format}")
        self._kept_bytes += len(image)
        while self._kept_bytes > KEPT_BYTES:
            self._kept_bytes -= len(self._kept.popitem(last=False)[1][0])
        return {"url": str(http.url.origin().with_path(OUTPUTS + name))}


def _render(request: ImageRequest, index: int) -> bytes:
    from embedded.image_encoder import render_image  # loads Pillow and NumPy on first use, in the model's thread

    return render_image(request.prompt, index, request.width, request.height, request.format)


def read_image_request(body: dict[str, Any]) -> ImageRequest:
    """Validate the body. Style fields (quality, style, background) are ignored. Raises ApiError 400."""
    require_model(body, DEMO_IMAGE)
    if boolean(body, "stream"):
        raise invalid_request("stream", f"'stream' is not supported by {DEMO_IMAGE.id}.")
    size = optional_choice(body, "size", (*SIZES, "auto"), "auto")
    width, height = (SIZES[0] if size == "auto" else size).split("x")
    return ImageRequest(
        prompt=required_string(body, "prompt", MAX_PROMPT_CHARACTERS),
        n=integer(body, "n", 1, MAX_IMAGES) or 1,
        width=int(width),
        height=int(height),
        format=optional_choice(body, "output_format", FORMATS, "png"),
        as_url=optional_choice(body, "response_format", ("b64_json", "url"), "b64_json") == "url",
    )
