"""Media requests and responses of the OpenAI dialect, without a network: requests built, and any response parsed or rejected."""

from __future__ import annotations

import base64
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.http.multipart import read_form
from shared.billing.pricing import MediaUnits
from shared.catalog.snapshot import Route
from shared.dialects.base import Target
from shared.dialects.media import AuthenticatedDownload, FileUrl, InputFile, MalformedAnswer, MediaAnswer, MediaCall
from shared.dialects.openai_media import MEDIA_DIALECTS

IMAGES, SPEECH, VIDEOS = (MEDIA_DIALECTS["openai", kind] for kind in ("image", "speech", "video"))


def target(**settings: Any) -> Target:
    id = UUID(int=1)
    route = Route(id, id, "c", "openai", "http://acme/v1", "", settings, "acme-model", 0, 1)
    return Target(route, "sk-1", "https://yout.chat", lambda user: f"pseudonym of {len(user)}")


def call(kind: str, **body: Any) -> MediaCall:
    return MediaCall(kind, "m", {"model": "m", **body}, MediaUnits(), {})


def start_request(kind: str, settings: dict[str, Any], **body: Any) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(
        MEDIA_DIALECTS["openai", kind].build_request(call(kind, **body), target(**settings)).body
    )
    return found


@pytest.mark.parametrize(("operation", "path"), [("edit", "/images/edits"), ("variation", "/images/variations")])
def test_input_images_are_sent_as_a_form_with_the_channels_fields(operation: str, path: str) -> None:
    files = (InputFile("image[]", "image/png", b"\x89PNG"), InputFile("image[]", "image/webp", b"RIFF"))
    asked = call("image", prompt="x\r\n--b", n=2, user="ann")._replace(options={"operation": operation}, files=files)
    request = IMAGES.build_request(asked, target(media_body={"a": {"b": [1]}}, image_format="b64_json"))
    form = read_form(request.body, dict(request.headers)["content-type"])
    assert request.url == f"http://acme/v1{path}"
    assert [(field, file.name, file.type, file.data) for field, file in form.files] == [
        ("image[]", "image.png", "image/png", b"\x89PNG"),
        ("image[]", "image.webp", "image/webp", b"RIFF"),
    ]
    assert dict(form.fields) == {
        "model": "acme-model",
        "prompt": "x\r\n--b",
        "n": "2",
        "user": "pseudonym of 3",
        "response_format": "b64_json",
        "a[b][]": "1",
    }


def test_requests_use_the_providers_field_names() -> None:
    request = IMAGES.build_request(call("image", prompt="x", user="ada"), target(headers={"X-No-Log": "1"}))
    headers = dict(request.headers)
    assert (request.method, request.url) == ("POST", "http://acme/v1/images/generations")
    assert orjson.loads(request.body) == {"model": "acme-model", "prompt": "x", "user": "pseudonym of 3"}
    assert (headers["authorization"], headers["http-referer"], headers["x-no-log"]) == ("Bearer sk-1", "https://yout.chat", "1")


@pytest.mark.parametrize(
    ("settings", "extra"),
    [
        ({}, {}),
        ({"body": {"store": False}}, {"store": False}),
        ({"body": {"store": False}, "media_body": {}}, {}),
        ({"body": {"store": False}, "media_body": {"no_log": True}}, {"no_log": True}),
        ({"image_format": "b64_json"}, {"response_format": "b64_json"}),
    ],
)
def test_a_channel_adds_its_own_fields(settings: dict[str, Any], extra: dict[str, Any]) -> None:
    assert start_request("image", settings, prompt="x") == {"model": "acme-model", "prompt": "x", **extra}


def test_speech_is_the_body_itself() -> None:
    assert SPEECH.body_is_file
    assert SPEECH.build_request(call("speech", input="x"), target()).url.endswith("/audio/speech")


@pytest.mark.parametrize(
    ("item", "piece"),
    [
        ({"b64_json": base64.b64encode(b"abc").decode()}, b"abc"),
        ({"b64_json": "data:image/png;base64," + base64.b64encode(b"abc").decode()}, b"abc"),
        ({"url": "https://files.example/x.png"}, FileUrl("https://files.example/x.png")),
        ({"b64_json": None, "url": "https://files.example/x.png"}, FileUrl("https://files.example/x.png")),
    ],
)
def test_an_image_in_any_format(item: dict[str, Any], piece: object) -> None:
    assert IMAGES.parse_response(orjson.dumps({"data": [{}, item]}), target()).files == (piece,)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"id": "v_1", "status": "queued"}, MediaAnswer((), "v_1")),
        ({"id": "v_1", "status": "in_progress", "progress": 40.7}, MediaAnswer((), "v_1", 40)),
        ({"id": "v_1", "status": "in_progress", "progress": 400}, MediaAnswer((), "v_1")),
        (
            {"id": "v_1", "status": "failed", "error": {"code": "moderation_blocked"}},
            MediaAnswer((), "v_1", None, "moderation_blocked"),
        ),
        ({"id": "v_1", "status": "failed", "error": {"code": "free text of it"}}, MediaAnswer((), "v_1", None, "upstream_error")),
        ({"id": "v_1", "status": "cancelled"}, MediaAnswer((), "v_1", None, "upstream_error")),
    ],
)
def test_the_status_of_a_video(body: dict[str, Any], expected: MediaAnswer) -> None:
    assert VIDEOS.parse_response(orjson.dumps(body), target()) == expected


def test_a_finished_video_is_downloaded_with_the_credential() -> None:
    answer = VIDEOS.parse_response(b'{"id": "v_1", "status": "completed"}', target())
    [piece] = answer.files
    assert isinstance(piece, AuthenticatedDownload)
    assert (piece.build_request.method, piece.build_request.url) == ("GET", "http://acme/v1/videos/v_1/content")
    assert dict(piece.build_request.headers)["authorization"] == "Bearer sk-1"
    assert VIDEOS.build_poll_request("v_1", target()).url == "http://acme/v1/videos/v_1"


names = st.sampled_from(["data", "b64_json", "url", "id", "status", "progress", "error", "code"])
plain = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text("a-*9/=", max_size=8)
junk = st.recursive(plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4))


@given(st.binary(max_size=30) | junk.map(orjson.dumps))
def test_any_response_is_parsed_or_rejected(data: bytes) -> None:
    for dialect in (IMAGES, VIDEOS):
        try:
            answer = dialect.parse_response(data, target())
        except MalformedAnswer:
            continue
        assert isinstance(answer, MediaAnswer)


def test_only_request_errors_are_permanent() -> None:
    result = orjson.dumps({"error": {"message": "blocked", "code": "moderation_blocked", "param": None}})
    refused = IMAGES.parse_error(400, result, call("image"), target())
    assert (refused.is_request_error, refused.code) == (True, "moderation_blocked")
    assert not IMAGES.parse_error(401, result, call("image"), target()).is_request_error
