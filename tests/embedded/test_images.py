"""Demo images: real files, deterministic for a prompt, and labeled as demos."""

from __future__ import annotations

import base64
import io

import aiohttp
import numpy
import openai
import pytest
from PIL import Image

from embedded.image_label import draw_caption
from embedded.images import KEPT_BYTES, ImageRequest, Images
from embedded.procedural_image import PALETTES, build_scene
from tests.embedded.embedded_server import Server, send

MODEL = "demo-image"
GOOD = {"model": MODEL, "prompt": "a lake", "size": "256x256"}


def decode(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def generate(client: openai.OpenAI, **options: object) -> list[bytes]:
    answer = client.images.generate(**(GOOD | options))
    return [base64.b64decode(one.b64_json or "") for one in answer.data or ()]


def test_images_are_deterministic_and_depend_on_the_prompt(client: openai.OpenAI) -> None:
    first = generate(client, n=2)
    assert generate(client, n=2) == first
    assert first[0] != first[1]
    assert generate(client, prompt="a lake, please")[0] not in first


@pytest.mark.parametrize("size", ["256x256", "1024x1536", "1536x1024"])
def test_sizes(client: openai.OpenAI, size: str) -> None:
    image = decode(generate(client, size=size)[0])
    assert (image.format, f"{image.width}x{image.height}") == ("PNG", size)


@pytest.mark.parametrize(("format", "kind"), [("png", "PNG"), ("jpeg", "JPEG"), ("webp", "WEBP")])
def test_formats(client: openai.OpenAI, format: str, kind: str) -> None:
    assert decode(generate(client, output_format=format)[0]).format == kind


def test_an_image_has_many_colors(client: openai.OpenAI) -> None:
    colors = numpy.asarray(decode(generate(client, prompt="sunset over the sea", size="512x512")[0]))
    assert len(numpy.unique(colors.reshape(-1, 3), axis=0)) > 2_000
    assert colors.std() > 30


async def test_an_output_url_serves_the_image_without_a_key(server: Server, client: openai.OpenAI) -> None:
    address = (client.images.generate(**GOOD, response_format="url").data or [])[0].url or ""
    assert address.startswith(server.url + "/outputs/")
    async with aiohttp.ClientSession() as session:
        async with session.get(address) as reply:
            assert (reply.status, reply.content_type) == (200, "image/png")
            assert decode(await reply.read()).size == (256, 256)
        async with session.get(server.url + "/outputs/" + "0" * 32 + ".png") as reply:
            assert reply.status == 404


def test_old_outputs_are_evicted(monkeypatch: pytest.MonkeyPatch) -> None:
    images = Images(None)  # type: ignore[arg-type]  (keeps alone are tried)
    request = ImageRequest("x", 1, 256, 256, "png", as_url=True)

    class Http:
        from yarl import URL

        url = URL("http://127.0.0.1:1/v1/images/generations")

    shown = [images._image_object(bytes(KEPT_BYTES // 3), request, Http)["url"] for _ in range(5)]  # type: ignore[arg-type]  # all that it asks of a handler
    assert [url.rpartition("/")[2] in images._kept for url in shown] == [False, False, True, True, True]


@pytest.mark.parametrize(
    "prompt", ["", "日本の山", "word", "x" * 32_000, "many words " * 2_900, "line\nbreaks\tand \x07 bells", "🌋"]
)
def test_any_prompt_gets_a_caption(prompt: str) -> None:
    layer = numpy.asarray(draw_caption(prompt, 256, 256))
    assert layer[:, :, 3].max() > 200  # the label is visible, whatever the prompt
    assert layer[120:130, :, 3].max() == 0  # nothing covers the center


@pytest.mark.parametrize(
    ("prompt", "palette"), [("a snowy peak", "snow"), ("Sunset in Rome", "dusk"), ("the desert", "desert"), ("stars", "night")]
)
def test_words_choose_the_colors(prompt: str, palette: str) -> None:
    assert build_scene(prompt, 0).palette == PALETTES[palette]


def test_a_word_chooses_water() -> None:
    assert build_scene("the forest by the sea", 0).waterline is not None
    assert build_scene("the forest", 0).waterline is None


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": 5}, "model"),
        ({"prompt": None}, "prompt"),
        ({"prompt": " "}, "prompt"),
        ({"prompt": ["a"]}, "prompt"),
        ({"prompt": "x" * 32_001}, "prompt"),
        ({"n": 0}, "n"),
        ({"n": 11}, "n"),
        ({"n": "2"}, "n"),
        ({"size": "100x100"}, "size"),
        ({"size": 512}, "size"),
        ({"response_format": "png"}, "response_format"),
        ({"output_format": "gif"}, "output_format"),
        ({"stream": True}, "stream"),
    ],
)
async def test_an_invalid_field_is_a_400_naming_it(server: Server, fields: dict, param: str) -> None:
    status, body = await send(server, "POST", "/v1/images/generations", json=GOOD | fields)
    assert (status, body["error"]["type"], body["error"]["param"]) == (400, "invalid_request_error", param)


@pytest.mark.parametrize("path", ["/v1/images/edits", "/v1/images/variations"])
async def test_editing_is_refused(server: Server, path: str) -> None:
    status, body = await send(server, "POST", path, json=GOOD)
    assert (status, body["error"]["code"], body["error"]["param"]) == (400, "unsupported_operation", "model")


async def test_common_provider_fields_are_ignored(server: Server) -> None:
    more = {
        "quality": "high",
        "style": "vivid",
        "background": "auto",
        "moderation": "low",
        "user": "u",
        "n": None,
        "size": "auto",
    }
    status, body = await send(server, "POST", "/v1/images/generations", json=GOOD | more)
    assert (status, body["size"]) == (200, "1024x1024")
