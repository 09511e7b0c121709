"""The job API besides generation: cancellation, idempotency, progress events, listing, links, webhooks."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import openai
import pytest

from shared.models import Account, Hold, MediaJob, MediaOutput
from shared.operations.web_accounts import create_session, sign_up
from tests.edge.http_calls import run_concurrently
from tests.edge.media.media_stack import CANARY, CREDITS, IMAGE, MP4, PNG, VIDEO, Customer, MediaStack, image_response, video_job
from tests.edge.web.conftest import COOKIE, Browser
from tests.openai_payloads import Json
from tests.servers.process import eventually
from tests.upstream_responses import Gate, delayed


def test_a_cancelled_job_is_refunded_and_its_late_image_discarded(customer: Customer, media_stack: MediaStack) -> None:
    gate = Gate()
    media_stack.upstream.script(delayed(gate, image_response(PNG)))
    id = customer.submit()
    gate.wait_reached()
    files = media_stack.files()
    cancelled = customer.post(f"/api/media/jobs/{id}/cancel/")
    assert (cancelled.status, cancelled.json["status"], cancelled.json["credits_cost"]) == (200, "cancelled", 0)
    assert (customer.balance, Hold.get_or_none(Hold.id == id)) == (CREDITS, None)
    gate.open()
    media_stack.upstream.calls[-1].wait_outcome()
    again = customer.post(f"/api/media/jobs/{id}/cancel/")
    assert (again.status, again.json["status"]) == (200, "cancelled")
    # The next image is stored after the late one, so by then the late one has been deleted.
    assert customer.run_job()["status"] == "succeeded"
    eventually(lambda: media_stack.files() == files + 1, "only the second image is stored")
    assert [row.status for row in customer.usage()] == ["cancelled", "completed"]


def test_a_deleted_job_is_gone_with_its_files_and_stays_paid(customer: Customer, media_stack: MediaStack) -> None:
    job = customer.run_job()
    files, path = media_stack.files(), f"/api/media/jobs/{job['job_uuid']}/"
    stranger = media_stack.customer()
    assert stranger.request("DELETE", path).status == 404
    assert customer.request("DELETE", path).json == {"job_uuid": job["job_uuid"], "deleted": True}
    assert media_stack.files() == files - 1
    assert [customer.get(path).status, customer.request("DELETE", path).status] == [404, 404]
    assert (customer.spent, [row.status for row in customer.usage()]) == (IMAGE, ["completed"])


def test_the_tag_of_a_job_is_stored_with_its_usage(customer: Customer, media_stack: MediaStack) -> None:
    for tag, headers, fields in (
        ("by-header", {"x-yout-tag": "by-header"}, {}),
        ("by-body", {}, {"metadata": {"tag": "by-body"}}),
    ):
        customer.wait_for_end(customer.submit(headers=headers, **fields))
        assert tag.encode() not in media_stack.upstream.calls[-1].body
    assert [row.tag for row in customer.usage()] == ["by-header", "by-body"]


def test_a_finished_job_cannot_be_cancelled(customer: Customer) -> None:
    job = customer.run_job()
    assert customer.post(f"/api/media/jobs/{job['job_uuid']}/cancel/").json["status"] == "succeeded"
    assert customer.spent == IMAGE


def test_cancelling_while_finishing_ends_the_job_once(customer: Customer) -> None:
    ids = [customer.submit() for _ in range(8)]
    run_concurrently(8, lambda number: customer.post(f"/api/media/jobs/{ids[number]}/cancel/"))
    ends = [customer.wait_for_end(id)["status"] for id in ids]
    assert customer.spent == ends.count("succeeded") * IMAGE
    assert set(ends) <= {"succeeded", "cancelled"}
    assert len(customer.usage()) == 8


def test_the_same_idempotency_key_returns_the_same_job_even_after_a_failure(customer: Customer, media_stack: MediaStack) -> None:
    key = {"Idempotency-Key": "one"}
    replies = run_concurrently(4, lambda _: customer.post("/api/media/image/", customer.body("image"), key))
    assert {reply.status for reply in replies} == {202}
    [id] = {reply.json["job_uuid"] for reply in replies}
    assert customer.wait_for_end(id)["status"] == "succeeded"
    assert customer.submit(headers=key) == id
    assert customer.spent == IMAGE
    other = customer.post("/api/media/image/", customer.body("image", n=2), key)
    assert (other.status, other.error["code"]) == (400, "idempotency_key_reused")
    assert media_stack.customer().submit(headers=key) != id  # idempotency keys are scoped to an account


def test_insufficient_credits_are_reported_before_submission(media_stack: MediaStack) -> None:
    poor = media_stack.customer(credits=IMAGE - 1)
    reply = poor.post("/api/media/image/", poor.body("image"))
    assert (reply.status, reply.json["yout"]["required"], reply.json["yout"]["balance"]) == (402, IMAGE, IMAGE - 1)
    assert not MediaJob.select().where(MediaJob.account == poor.account.id).exists()


def test_a_cap_is_respected(customer: Customer) -> None:
    refused = customer.post("/api/media/video/", customer.body("video"), {"x-yout-max-credits": str(VIDEO - 1)})
    details = refused.json["yout"]
    assert (refused.status, details["required"], details["max_credits"]) == (402, VIDEO, VIDEO - 1)
    assert details["balance"] == customer.balance > VIDEO
    taken = customer.post("/api/media/video/", customer.body("video"), {"x-yout-max-credits": str(VIDEO)})
    assert taken.status == 202


def test_a_web_session_submits_and_lists_jobs(media_stack: MediaStack) -> None:
    account = sign_up("painter@example.com", "known to nobody", CREDITS)
    customer = media_stack.customer()
    browser = Browser(media_stack.edge.port)
    browser.cookies[COOKIE] = create_session(account.id, "Firefox on Linux", password_hash="known to nobody").secret
    ordered = browser.api("POST", "/api/media/image/", customer.body("image"))
    assert ordered.status == 202, ordered.body
    path = f"/api/media/jobs/{ordered.json['job_uuid']}/"
    eventually(lambda: browser.api("GET", path).json["status"] == "succeeded", "the image is generated")
    assert Account.get_by_id(account.id).balance == CREDITS - IMAGE
    assert customer.get(path).status == 404
    unproven = browser.request("POST", "/api/media/image/", b"{}", {"accept": "application/json"})
    assert (unproven.status, unproven.error["code"]) == (403, "csrf_failed")
    assert browser.api("POST", "/v1/images/generations", customer.body("image")).status == 401


def test_an_unknown_field_is_named(customer: Customer) -> None:
    reply = customer.post("/api/media/image/", customer.body("image", colour="red"))
    assert (reply.status, reply.error["param"]) == (400, "colour")


def test_progress_is_streamed_to_the_end(customer: Customer, media_stack: MediaStack) -> None:
    gate = Gate()
    polls = iter([video_job("in_progress", 40), delayed(gate, video_job("completed"))])
    healthy = media_stack.upstream.default
    media_stack.upstream.script(video_job("queued"))
    media_stack.upstream.default = lambda request: healthy(request) if request.path.endswith("/content") else next(polls)
    id = customer.submit("video")
    seen: list[Json] = []
    with closing(http.client.HTTPConnection("127.0.0.1", media_stack.edge.port, timeout=30)) as connection:
        headers = {"authorization": f"Bearer {customer.secret}", "accept": "text/event-stream"}
        connection.request("GET", f"/api/media/jobs/{id}/", headers=headers)
        answer = connection.getresponse()
        assert answer.getheader("content-type", "").startswith("text/event-stream")
        while line := answer.readline():
            if line.startswith(b"data: "):
                seen.append(json.loads(line[6:]))
                if seen[-1]["progress"] == 40:
                    gate.open()
    assert (seen[-1]["status"], seen[-1]["progress"], seen[-1]["credits_cost"]) == ("succeeded", 100, VIDEO)
    assert 40 in [event["progress"] for event in seen]
    assert media_stack.fetch(seen[-1]["output_url"]).body == MP4


def test_jobs_are_paginated(customer: Customer, media_stack: MediaStack) -> None:
    ids = [customer.submit() for _ in range(3)]
    for id in ids:
        customer.wait_for_end(id)
    media_stack.customer().submit()  # belongs to another account, so it is on no page
    first = customer.get("/api/media/jobs/?limit=2").json
    assert [job["job_uuid"] for job in first["jobs"]] == ids[:0:-1]
    second = customer.get(f"/api/media/jobs/?limit=2&after={first['next']}").json
    assert ([job["job_uuid"] for job in second["jobs"]], second["next"]) == ([ids[0]], None)
    assert customer.get("/api/media/jobs/?kind=video").json["jobs"] == []
    assert len(customer.get("/api/media/jobs/?status=succeeded").json["jobs"]) == 3
    assert customer.get("/api/media/jobs/?limit=0").error["param"] == "limit"
    assert customer.get("/api/media/jobs/?status=odd").error["param"] == "status"


def test_a_link_is_valid_for_one_file_and_expires(customer: Customer, media_stack: MediaStack) -> None:
    url = customer.run_job()["output_url"]
    file = media_stack.fetch(url)
    assert file.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in file.headers["content-security-policy"]
    assert file.headers["content-disposition"].startswith("attachment; filename=")
    assert media_stack.fetch(url.replace("expires=", "expires=1")).status == 404
    assert media_stack.fetch(url[:-1] + ("A" if url[-1] != "A" else "B")).status == 404
    assert media_stack.request("GET", url.partition("?")[0].removeprefix(media_stack.edge.url)).status == 404


@pytest.mark.parametrize(
    ("asked_range", "status", "part"),
    [
        ("bytes=0-3", 206, slice(0, 4)),
        ("bytes=10-", 206, slice(10, None)),
        ("bytes=-5", 206, slice(-5, None)),
        ("bytes=0-100000", 206, slice(0, None)),
        ("bytes=100000-", 416, slice(0, 0)),
        ("bytes=-0", 416, slice(0, 0)),
        ("bytes=5-2", 200, slice(0, None)),
        ("bytes=0-1,3-4", 200, slice(0, None)),
        ("lines=1-2", 200, slice(0, None)),
    ],
)
def test_a_byte_range_of_a_file(customer: Customer, media_stack: MediaStack, asked_range: str, status: int, part: slice) -> None:
    url = _one_image(customer)
    file = media_stack.fetch(url, {"range": asked_range})
    assert (file.status, file.body) == (status, PNG[part])
    assert file.headers["content-length"] == str(len(PNG[part]))
    if status == 206:
        start, end, _ = part.indices(len(PNG))
        assert file.headers["content-range"] == f"bytes {start}-{end - 1}/{len(PNG)}"
    assert media_stack.fetch(url, method="HEAD").headers["content-length"] == str(len(PNG))


def _one_image(customer: Customer) -> str:
    url: str = customer.run_job()["output_url"]
    return url


class Receiver:
    """A customer's webhook server. `statuses` are its responses in order; the last one repeats."""

    def __init__(self, *statuses: int) -> None:
        self.received: list[tuple[dict[str, str], bytes]] = []
        answers = list(statuses)
        received = self.received

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                received.append(({name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(answers.pop(0) if len(answers) > 1 else answers[0])
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/told?token=hidden"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver(204)
    yield made
    made.close()


def test_the_owner_gets_a_signed_webhook(customer: Customer, receiver: Receiver) -> None:
    job = customer.run_job(callback_url=receiver.url)
    eventually(lambda: len(receiver.received) == 1, "the webhook arrives")
    headers, body = receiver.received[0]
    secret = customer.get("/api/media/webhook-secret/").json["secret"]
    assert customer.get("/api/media/webhook-secret/").json["secret"] == secret
    client = openai.OpenAI(api_key="unused")
    event: Any = client.webhooks.unwrap(body, headers, secret=secret)
    assert (event.type, event.data.job_uuid, event.data.status) == ("media.job.succeeded", job["job_uuid"], "succeeded")
    with pytest.raises(openai.InvalidWebhookSignatureError):
        client.webhooks.unwrap(body + b" ", headers, secret=secret)
    assert CANARY.encode() not in body
    eventually(lambda: customer.row(job["job_uuid"]).callback_url is None, "the address is forgotten")
    assert customer.post("/api/media/webhook-secret/").json["secret"] != secret


def test_a_rejected_webhook_is_retried(customer: Customer) -> None:
    receiver = Receiver(500, 302, 200)
    job = customer.run_job(callback_url=receiver.url)
    for attempt in (1, 2):
        eventually(lambda: len(receiver.received) == attempt, "another attempt")  # noqa: B023  (used at once)
        MediaJob.update(callback_due_at=1).where(MediaJob.id == job["job_uuid"]).execute()  # end the retry delay
    eventually(lambda: len(receiver.received) == 3, "the third is accepted")
    eventually(lambda: customer.row(job["job_uuid"]).callback_url is None, "and is the last")
    assert len({headers["webhook-id"] for headers, _ in receiver.received}) == 1
    receiver.close()


@pytest.mark.parametrize("url", ["http://127.0.0.2/x", "ftp://example.com/", "https://169.254.169.254/latest", "nonsense"])
def test_a_callback_to_a_private_address_is_rejected(customer: Customer, url: str) -> None:
    reply = customer.post("/api/media/image/", customer.body("image", callback_url=url))
    assert (reply.status, reply.error["param"]) == (400, "callback_url")
    assert not MediaJob.select().where(MediaJob.account == customer.account.id).exists()


def test_expired_files_are_deleted_but_the_job_stays(customer: Customer, media_stack: MediaStack) -> None:
    job = customer.run_job()
    files = media_stack.files()
    MediaJob.update(files_expire_at=1).where(MediaJob.id == job["job_uuid"]).execute()
    media_stack.expire_files()
    assert media_stack.files() == files - 1
    shown = customer.job(job["job_uuid"])
    assert (shown["status"], shown["output_url"], shown["credits_cost"]) == ("succeeded", None, IMAGE)
    assert media_stack.fetch(job["output_url"]).status == 404
    assert not MediaOutput.select().where(MediaOutput.job == job["job_uuid"]).exists()
