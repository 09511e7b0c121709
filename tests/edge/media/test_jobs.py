"""Media jobs from submission to file, on both databases: charges, outputs, and what remains after a failure."""

from __future__ import annotations

from uuid import uuid4

import pytest

from shared.ledger.receipt_proof import check_receipt
from shared.models import MediaJob, Subscription
from shared.operations.plans import create_plan
from tests.edge.media.media_stack import IMAGE, MP3, MP4, PNG, SPEECH, VIDEO, Customer, MediaStack, image_response, video_job
from tests.factories import ORIGIN
from tests.servers.process import eventually
from tests.upstream_responses import error_response


@pytest.mark.parametrize(
    ("kind", "content", "type", "cost"),
    [
        ("image", PNG, "image/png", IMAGE),
        ("speech", MP3, "audio/mpeg", SPEECH * 40 // 1000),
        ("video", MP4, "video/mp4", VIDEO),
    ],
)
def test_each_kind_is_generated_charged_and_downloaded(
    media_stack: MediaStack, customer: Customer, kind: str, content: bytes, type: str, cost: int
) -> None:
    ordered = customer.post(f"/api/media/{kind}/", customer.body(kind))
    assert (ordered.status, sorted(ordered.json)) == (202, ["credits_cost", "job_uuid", "status"])
    assert (ordered.json["status"], ordered.json["credits_cost"]) == ("queued", cost)
    job = customer.wait_for_end(ordered.json["job_uuid"])
    assert (job["status"], job["progress"], job["credits_cost"], job["error"]) == ("succeeded", 100, cost, None)
    assert (job["kind"], job["finished"] > job["created"]) == (kind, True)
    file = media_stack.fetch(job["output_url"])
    assert (file.status, file.body, file.headers["content-type"]) == (200, content, type)
    assert customer.spent == cost
    [row] = customer.usage()
    assert (row.status, row.credits, str(row.id)) == ("completed", cost, job["job_uuid"])
    receipt = customer.get(f"/api/receipts/req_{row.id.hex}/").json
    assert (receipt["cost"], receipt["credits_charged"], receipt["why"]) == (cost, cost, None)
    assert check_receipt(receipt) == []
    assert receipt["steps"][0]["count"] == {"image": 1, "speech": 40, "video": 4}[kind]


def test_a_job_of_an_alias_is_the_models(customer: Customer) -> None:
    alias = customer.image_model.replace("image", "painter")
    ordered = customer.post("/api/media/image/", customer.body("image", model=alias))
    assert (ordered.status, ordered.headers["x-yout-model"], ordered.headers["deprecation"]) == (202, customer.image_model, "@0")
    job = customer.wait_for_end(ordered.json["job_uuid"])
    assert (job["status"], job["model"], job["credits_cost"]) == ("succeeded", alias, IMAGE)
    assert customer.row(ordered.json["job_uuid"]).model == customer.image_model
    assert [(row.model, row.asked_model) for row in customer.usage()] == [(customer.image_model, alias)]


def test_half_of_the_images_cost_half(customer: Customer, media_stack: MediaStack) -> None:
    media_stack.upstream.script(image_response(PNG, PNG))
    job = customer.run_job(n=4)
    assert (job["status"], len(job["outputs"]), job["credits_cost"]) == ("succeeded", 2, 2 * IMAGE)
    assert customer.spent == 2 * IMAGE


def test_more_images_than_requested_are_not_charged(customer: Customer, media_stack: MediaStack) -> None:
    media_stack.upstream.script(image_response(PNG, PNG, PNG))
    job = customer.run_job(n=2)
    assert (len(job["outputs"]), customer.spent) == (2, 2 * IMAGE)


def test_a_failing_provider_costs_nothing(customer: Customer, media_stack: MediaStack) -> None:
    media_stack.upstream.default = error_response(500)
    job = customer.run_job()
    assert (job["status"], job["error"]["code"], job["credits_cost"]) == ("failed", "upstream_error", 0)
    assert (customer.spent, customer.usage()[0].status) == (0, "failed")


def test_a_video_job_reports_progress(customer: Customer, media_stack: MediaStack) -> None:
    polls = iter([video_job("in_progress", 40), video_job("completed")])
    media_stack.upstream.script(video_job("queued"))
    healthy = media_stack.upstream.default
    media_stack.upstream.default = lambda request: healthy(request) if request.path.endswith("/content") else next(polls)
    id = customer.submit("video", seconds=6)
    eventually(lambda: customer.job(id)["progress"] >= 40, "the provider's progress is shown")
    job = customer.wait_for_end(id)
    assert (job["status"], job["credits_cost"], customer.row(id).attempts) == ("succeeded", 2 * VIDEO, 1)


def test_a_job_of_another_account_is_not_found(customer: Customer, media_stack: MediaStack) -> None:
    id = customer.submit()
    stranger = media_stack.customer()
    for method, path in (("GET", "/api/media/jobs/{}/"), ("POST", "/api/media/jobs/{}/cancel/")):
        theirs, nobodys = (stranger.request(method, path.format(one)) for one in (id, uuid4()))
        assert theirs.status == 404
        assert theirs.body == nobodys.body
    assert customer.wait_for_end(id)["status"] == "succeeded"


def test_files_are_kept_for_the_plans_retention_period(customer: Customer) -> None:
    by_setting = customer.row(customer.run_job()["job_uuid"])
    plan = create_plan(f"studio-{customer.models_number}", {"media_days": 3}, origin=ORIGIN)
    Subscription.create(account=customer.account, plan=plan)
    by_plan = customer.row(customer.run_job()["job_uuid"])
    kept = [round((job.files_expire_at - job.finished_at) / 86_400_000, 2) for job in (by_setting, by_plan)]
    assert kept == [30, 3]


def test_the_prompt_is_deleted_when_the_job_ends(customer: Customer) -> None:
    id = customer.submit()
    customer.wait_for_end(id)
    assert MediaJob.get_by_id(id).sealed_params is None
