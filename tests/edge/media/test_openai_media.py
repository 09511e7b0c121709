"""OpenAI's Python SDK generates images, speech and videos through the same jobs and prices."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from shared.models import MediaJob
from tests.edge.media.media_stack import (
    ALLOWING,
    CANARY,
    CREDITS,
    IMAGE,
    MP3,
    MP4,
    PNG,
    VIDEO,
    Customer,
    MediaStack,
    image_response,
    video_job,
)
from tests.servers.process import eventually
from tests.upstream_responses import Gate, delayed, error_response, html_response


@pytest.fixture
def client(customer: Customer, media_stack: MediaStack) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{media_stack.edge.url}/v1", api_key=customer.secret, max_retries=0) as made:
        yield made


def test_images_are_returned_as_base64(client: openai.OpenAI, customer: Customer) -> None:
    made: Any = client.images.generate(model=customer.image_model, prompt=CANARY, n=2, size="1024x1024")
    assert [base64.b64decode(item.b64_json) for item in made.data] == [PNG, PNG]
    assert (made.yout["credits_charged"], made.yout["balance"]) == (2 * IMAGE, CREDITS - 2 * IMAGE)
    assert customer.spent == 2 * IMAGE
    assert made.size == "1024x1024"


def test_images_are_returned_as_urls(client: openai.OpenAI, customer: Customer, media_stack: MediaStack) -> None:
    made: Any = client.images.generate(model=customer.image_model, prompt=CANARY, response_format="url")
    assert media_stack.fetch(made.data[0].url).body == PNG


def test_speech_is_the_response_body(client: openai.OpenAI, customer: Customer) -> None:
    made = client.audio.speech.with_raw_response.create(model=customer.speech_model, voice="nova", input="x" * 1_001)
    assert made.content == MP3
    assert made.headers["content-type"] == "audio/mpeg"
    assert made.headers["x-yout-credits-charged"] == "15015"
    assert made.headers["x-yout-balance"] == str(customer.balance)
    assert customer.spent == 15_015


@pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")
def test_a_video_is_created_polled_downloaded_and_deleted(
    client: openai.OpenAI, customer: Customer, media_stack: MediaStack
) -> None:
    video = client.videos.create_and_poll(
        model=customer.video_model, prompt=CANARY, seconds="8", size="1280x720", poll_interval_ms=200
    )
    assert (video.status, video.seconds, video.size, video.progress) == ("completed", "8", "1280x720", 100)
    assert client.videos.download_content(video.id).read() == MP4
    assert customer.spent == 2 * VIDEO
    assert [one.id for one in client.videos.list(limit=5)] == [video.id]
    files = media_stack.files()
    assert client.videos.delete(video.id).deleted
    assert media_stack.files() == files - 1
    with pytest.raises(openai.NotFoundError):
        client.videos.retrieve(video.id)
    assert customer.spent == 2 * VIDEO


@pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")
def test_videos_are_paginated(client: openai.OpenAI, customer: Customer) -> None:
    ordered = [client.videos.create(model=customer.video_model, prompt=CANARY).id for _ in range(3)]
    assert [video.id for video in client.videos.list(limit=2)] == ordered[::-1]  # the SDK requests the second page itself
    assert [video.id for video in client.videos.list(limit=2, order="asc")] == ordered


@pytest.mark.parametrize(
    ("answer", "error", "code"),
    [
        (error_response(500), openai.InternalServerError, "upstream_error"),
        (html_response(), openai.InternalServerError, "upstream_error"),
        (image_response(), openai.InternalServerError, "nothing_delivered"),
        (error_response(401), openai.InternalServerError, "upstream_error"),
        (
            error_response(400, {"error": {"message": f"no {CANARY}", "code": "moderation_blocked", "type": "x", "param": None}}),
            openai.BadRequestError,
            "moderation_blocked",
        ),
    ],
)
def test_a_failure_is_an_error_and_costs_nothing(
    client: openai.OpenAI, customer: Customer, media_stack: MediaStack, answer: Any, error: type[openai.APIStatusError], code: str
) -> None:
    media_stack.upstream.default = answer
    with pytest.raises(error) as caught:
        client.images.generate(model=customer.image_model, prompt=CANARY)
    assert CANARY not in caught.value.message
    assert MediaJob.get(MediaJob.account == customer.account.id).error_code == code
    assert customer.spent == 0


def test_a_client_that_disconnects_pays_nothing(client: openai.OpenAI, customer: Customer, media_stack: MediaStack) -> None:
    gate = Gate()
    media_stack.upstream.script(delayed(gate, image_response(PNG)))
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=1).images.generate(model=customer.image_model, prompt=CANARY)
    eventually(lambda: MediaJob.get(MediaJob.account == customer.account.id).status == "cancelled", "the job is cancelled")
    files = media_stack.files()
    gate.open()
    media_stack.upstream.calls[-1].wait_outcome()
    eventually(
        lambda: "cannot" not in media_stack.worker.output() and media_stack.files() == files, "the late image is discarded"
    )
    assert customer.spent == 0


def test_the_same_idempotency_key_waits_for_the_same_job(client: openai.OpenAI, customer: Customer) -> None:
    again = {"Idempotency-Key": "once"}
    jobs = {
        client.images.generate(model=customer.image_model, prompt=CANARY, extra_headers=again).yout["job_uuid"]  # type: ignore[attr-defined]  # ours, beside their fields
        for _ in range(2)
    }
    assert len(jobs) == 1
    assert customer.spent == IMAGE


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": 5}, "prompt"),
        ({"n": 11}, "n"),
        ({"n": True}, "n"),
        ({"size": "huge"}, "size"),
        ({"response_format": "svg"}, "response_format"),
        ({"output_format": "svg"}, "output_format"),
        ({"stream": True}, "stream"),
        ({"quality": "very high"}, "quality"),
        ({"model": None}, "model"),
    ],
)
def test_a_wrong_field_is_named(customer: Customer, fields: dict[str, Any], param: str) -> None:
    reply = customer.post("/v1/images/generations", {"model": customer.image_model, "prompt": CANARY, **fields})
    assert (reply.status, reply.error["param"]) == (400, param)


def test_a_field_of_unknown_cost_is_refused_unless_a_channel_allows_it(customer: Customer, media_stack: MediaStack) -> None:
    before = len(media_stack.upstream.calls)
    for path, body in (
        ("/v1/images/generations", {"model": customer.image_model, "prompt": CANARY, "num_images": 4}),
        ("/v1/audio/speech", {"model": customer.speech_model, "input": "Hi", "num_images": 4}),
        ("/v1/videos", {"model": customer.video_model, "prompt": CANARY, "num_images": 4}),
    ):
        reply = customer.post(path, body)
        assert (reply.status, reply.error["code"], reply.error["param"]) == (400, "unpriced_parameter", "num_images")
    assert customer.post("/v1/images/generations", {"model": ALLOWING, "prompt": CANARY, "num_images": 4}).status == 200
    [sent] = media_stack.upstream.calls[before:]
    assert (sent.json["num_images"], sent.headers["x-channel"], customer.spent) == (4, "allowing", IMAGE)


def test_a_model_of_another_kind_is_not_found(customer: Customer) -> None:
    reply = customer.post("/v1/audio/speech", {"model": customer.image_model, "input": "Hi"})
    assert (reply.status, reply.error["code"]) == (404, "model_not_found")


@pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")
def test_a_video_that_the_provider_abandons_fails_without_charge(
    client: openai.OpenAI, customer: Customer, media_stack: MediaStack
) -> None:
    media_stack.upstream.default = video_job("failed", error={"code": "moderation_blocked", "message": f"no {CANARY}"})
    video = client.videos.create_and_poll(model=customer.video_model, prompt=CANARY, poll_interval_ms=200)
    assert video.status == "failed"
    assert video.error is not None
    assert video.error.code == "moderation_blocked"
    assert CANARY not in video.error.message
    assert customer.spent == 0
