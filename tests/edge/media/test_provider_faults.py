"""Misbehaving providers, and the data that providers receive: a job ends once, charges only delivered outputs, and leaves no
unused file."""

from __future__ import annotations

import time
from email.utils import formatdate
from typing import Any

import pytest

from shared.core.clock import now_ms
from shared.models import Channel, ChannelModel, MediaJob
from tests import factories
from tests.edge.media.media_stack import CANARY, IMAGE, MP4, PNG, Customer, MediaStack, audio_response, image_response, video_job
from tests.openai_payloads import Json
from tests.servers.process import eventually
from tests.upstream import Request
from tests.upstream_responses import RESET, ScriptedResponse, error_response, html_response, json_response, no_response, stream

SVG = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
PAGE = b"<html><body>Welcome to nginx!</body></html>"


def made_by(customer: Customer, kind: str, answer: ScriptedResponse, **fields: Any) -> Json:
    """A job with this response to its first request."""
    customer.studio.upstream.default = answer
    return customer.run_job(kind, **fields)


@pytest.mark.parametrize(
    ("kind", "answer", "code", "error_class"),
    [
        ("image", no_response(), "upstream_timeout", "timeout"),
        ("image", stream(RESET), "upstream_error", "connection"),
        ("image", html_response(), "upstream_error", "malformed_answer"),
        ("image", json_response({"data": "none"}), "upstream_error", "malformed_answer"),
        ("image", json_response({"data": [{"b64_json": "*"}, {}, None, {"url": 5}]}), "nothing_delivered", "not_media"),
        ("image", image_response(PAGE), "nothing_delivered", "not_media"),
        ("image", image_response(SVG), "nothing_delivered", "not_media"),
        ("image", image_response(MP4), "nothing_delivered", "not_media"),
        ("image", image_response(PNG + bytes(200_000)), "output_too_large", "too_large"),
        ("image", error_response(302, headers={"location": "http://127.0.0.2/"}), "upstream_error", "status_302"),
        ("image", image_response("http://127.0.0.2:1/x"), "upstream_error", "address_refused"),
        ("image", image_response("http://169.254.169.254/latest/meta-data"), "upstream_error", "address_refused"),
        ("image", image_response("file:///etc/passwd"), "upstream_error", "address_refused"),
        ("speech", html_response(), "upstream_error", "text_for_media"),
        ("speech", json_response({"error": {"message": CANARY}}), "upstream_error", "text_for_media"),
        ("speech", audio_response(b""), "nothing_delivered", "not_media"),
        ("speech", audio_response(PAGE, "audio/mpeg"), "nothing_delivered", "not_media"),
        ("video", video_job("failed", error={"code": f"odd {CANARY}"}), "upstream_error", "provider_gave_up"),
        ("video", json_response({"id": "../../x", "status": "queued"}), "upstream_error", "malformed_answer"),
    ],
)
def test_a_provider_failure_costs_nothing(
    customer: Customer, media_stack: MediaStack, kind: str, answer: ScriptedResponse, code: str, error_class: str
) -> None:
    files = media_stack.files()
    job = made_by(customer, kind, answer)
    assert (job["status"], job["error"]["code"], job["outputs"]) == ("failed", code, [])
    row = customer.row(job["job_uuid"])
    assert (row.error_class, row.sealed_params, customer.spent) == (error_class, None, 0)
    assert [use.status for use in customer.usage()] == ["failed"]
    eventually(lambda: media_stack.files() == files, "no file is left")


def test_a_url_on_the_providers_own_host_is_fetched(customer: Customer, media_stack: MediaStack) -> None:
    healthy = media_stack.upstream.default
    media_stack.upstream.script(image_response(f"{media_stack.upstream.url}/made.png"))
    media_stack.upstream.default = lambda request: json_response(PNG) if request.path == "/v1/made.png" else healthy(request)
    job = customer.run_job()
    assert media_stack.fetch(job["output_url"]).body == PNG
    assert "authorization" not in media_stack.upstream.requests[-1].headers  # the credential must not be sent to the URL


def test_an_image_url_that_redirects_to_a_private_address_is_not_charged(customer: Customer, media_stack: MediaStack) -> None:
    healthy = media_stack.upstream.default
    inner = json_response(b"", 302, {"location": "http://127.0.0.2:1/latest"})
    media_stack.upstream.script(image_response(PNG, f"{media_stack.upstream.url}/moved.png"))
    media_stack.upstream.default = lambda request: inner if request.path == "/v1/moved.png" else healthy(request)
    job = customer.run_job(n=2)
    assert (job["status"], len(job["outputs"]), customer.spent) == ("succeeded", 1, IMAGE)


def test_raw_pcm_is_accepted_only_if_requested(customer: Customer, media_stack: MediaStack) -> None:
    samples = bytes(range(256)) * 4
    media_stack.upstream.default = audio_response(samples, "audio/pcm")
    job = customer.run_job("speech", response_format="pcm")
    file = media_stack.fetch(job["output_url"])
    assert (file.body, file.headers["content-type"]) == (samples, "audio/pcm")
    assert customer.run_job("speech")["status"] == "failed"  # invalid as the default mp3


def test_the_second_channel_takes_over(customer: Customer, media_stack: MediaStack, start_upstream: Any) -> None:
    spare = start_upstream()
    spare.default = lambda request: image_response(PNG)
    factories.model(
        "pair",
        Channel.get(name=f"set-{customer.models_number}"),
        factories.channel(spare.url),
        kind="image",
        input=0,
        output=0,
        per_call=IMAGE,
    )
    eventually(lambda: _known(customer, "pair"), "the edge knows the model")
    job = made_by(customer, "image", error_response(500), model="pair")
    assert (job["status"], customer.spent) == ("succeeded", IMAGE)
    [use] = customer.usage()
    assert use.channel == ChannelModel.get(ChannelModel.model == "pair", ChannelModel.priority == 1).channel_id


def _known(customer: Customer, model: str) -> bool:
    return any(found["id"] == model for found in customer.get("/v1/models").json["data"])


def test_a_short_delay_of_a_busy_provider_is_waited_for(customer: Customer, media_stack: MediaStack) -> None:
    media_stack.upstream.script(error_response(429, headers={"retry-after": "1"}))
    job = customer.run_job()
    assert (job["status"], customer.spent, customer.row(job["job_uuid"]).attempts) == ("succeeded", IMAGE, 1)


def test_a_long_delay_of_a_busy_provider_releases_the_job(customer: Customer, media_stack: MediaStack) -> None:
    media_stack.upstream.script(error_response(503, headers={"retry-after": formatdate(time.time() + 50, usegmt=True)}))
    made, asked_at = len(media_stack.upstream.calls), now_ms()
    id = customer.submit()
    eventually(lambda: customer.row(id).attempts == 1 and customer.row(id).claimed_by is None, "the job is released")
    assert 40_000 < customer.row(id).due_at - asked_at <= 60_000
    assert len(media_stack.upstream.calls) == made + 1
    customer.post(f"/api/media/jobs/{id}/cancel/")


def test_a_provider_that_stays_busy_fails_the_job(customer: Customer, media_stack: MediaStack) -> None:
    media_stack.upstream.default = error_response(429)
    id = customer.submit()

    def ended() -> bool:
        MediaJob.update(due_at=1).where((MediaJob.id == id) & MediaJob.claimed_by.is_null()).execute()  # end the retry delay
        return customer.job(id)["status"] == "failed"

    eventually(ended, "the job is abandoned")
    assert (customer.job(id)["error"]["code"], customer.row(id).attempts, customer.spent) == ("no_upstream_available", 4, 0)


def test_a_provider_learns_nothing_about_the_caller(customer: Customer, media_stack: MediaStack) -> None:
    customer.run_job("image", user="ada@example.com", quality="high")
    request: Request = media_stack.upstream.calls[-1]
    assert (request.json["prompt"], request.json["model"], request.json["quality"]) == (CANARY, "acme-model", "high")
    assert request.json["user"] not in ("ada@example.com", None)
    assert request.headers["http-referer"] == "https://yout.chat"
    result = repr((request.headers, request.json))
    for secret in (customer.secret, str(customer.account.id), customer.account.id.hex, customer.account.email, "ada@example.com"):
        assert secret not in result


def test_the_channels_no_retention_settings_are_sent(customer: Customer, media_stack: MediaStack) -> None:
    quiet = factories.channel(media_stack.upstream.url, settings={"body": {"store": False}, "headers": {"X-No-Log": "1"}})
    factories.model("quiet", quiet, kind="speech", input=0, output=0, per_1k_characters=1)
    eventually(lambda: _known(customer, "quiet"), "the edge knows the model")
    assert customer.run_job("speech", model="quiet")["status"] == "succeeded"
    request = media_stack.upstream.calls[-1]
    assert (request.json["store"], request.headers["x-no-log"]) == (False, "1")
    assert request.json["input"] == CANARY


def test_a_video_is_polled_again_after_a_failed_poll(customer: Customer, media_stack: MediaStack) -> None:
    healthy = media_stack.upstream.default
    polls = iter([error_response(500), video_job("completed")])
    media_stack.upstream.script(video_job("queued"))
    media_stack.upstream.default = lambda request: healthy(request) if request.path.endswith("/content") else next(polls)
    made, asked = len(media_stack.upstream.calls), len(media_stack.upstream.requests)
    id = customer.submit("video")
    eventually(lambda: customer.row(id).vendor_job == "video_1" and customer.row(id).due_at > 0, "the video is submitted")
    eventually(
        lambda: any("/videos/video_1" in one.path for one in media_stack.upstream.requests[asked:]), "the provider was polled"
    )
    eventually(lambda: customer.row(id).claimed_by is None, "the claim on the job is released")
    MediaJob.update(due_at=1).where(MediaJob.id == id).execute()
    assert customer.wait_for_end(id)["status"] == "succeeded"
    assert [call.path.endswith("/videos") for call in media_stack.upstream.calls[made:]] == [True]
