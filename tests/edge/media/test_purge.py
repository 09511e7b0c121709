"""A purge includes media: files and jobs are deleted, running jobs are cancelled and refunded, late results are discarded."""

from __future__ import annotations

from shared.core.clock import now_ms
from shared.files.signed_urls import sign_url
from shared.models import MediaJob, MediaOutput
from tests.edge.media.media_stack import IMAGE, PNG, Customer, MediaStack, image_response
from tests.openai_payloads import Json
from tests.servers.edge import SECRET_KEY
from tests.servers.process import eventually
from tests.upstream_responses import Gate, delayed
from tests.workers.test_thumbnails import noise


def wait_for_certificate(customer: Customer) -> Json:
    """Wait for the certificate of a purge."""
    begun = customer.post("/api/chat/purge/")
    assert (begun.status, begun.json["status"]) == (202, "queued")
    path = f"/api/chat/purge/{begun.json['id']}/"
    eventually(lambda: customer.get(path).json["status"] == "done", "the purge is done")
    certificate: Json = customer.get(path).json["certificate"]["certificate"]
    return certificate


def test_media_jobs_and_files_are_purged(media_stack: MediaStack, customer: Customer) -> None:
    other_customer = media_stack.customer()
    theirs = other_customer.run_job()
    files = media_stack.files()
    media_stack.upstream.script(image_response(noise(150)))
    mine = [customer.run_job(), customer.run_job("speech")]
    output = MediaOutput.get(MediaOutput.job == mine[0]["job_uuid"])
    thumbnail = sign_url(f"/api/media/files/{output.id}/thumbnail", now_ms() + 60_000, SECRET_KEY)
    shown = media_stack.fetch(thumbnail)
    assert (shown.status, shown.headers["content-type"]) == (200, "image/webp")
    assert len(shown.body) < output.size_bytes / 2
    assert media_stack.fetch(thumbnail.replace("signature=", "signature=x")).status == 404
    assert media_stack.files() == files + 3  # two outputs and a thumbnail
    gate = Gate()
    media_stack.upstream.script(delayed(gate, image_response(PNG)))
    running = customer.submit(n=1)
    gate.wait_reached()
    spent = customer.spent
    certificate = wait_for_certificate(customer)
    gate.open()
    assert {name: certificate["removed"][name] for name in ("media_jobs", "media_files")} == {"media_jobs": 3, "media_files": 2}
    assert customer.spent == spent, "the hold of the running job must be released"
    eventually(lambda: media_stack.files() == files, "the late image is discarded")
    assert not MediaJob.select().where(MediaJob.account == customer.account).exists()
    assert customer.get(f"/api/media/jobs/{running}/").status == 404
    assert media_stack.fetch(mine[0]["output_url"]).status == media_stack.fetch(thumbnail).status == 404
    assert media_stack.fetch(theirs["output_url"]).status == 200
    assert MediaOutput.select().where(MediaOutput.job == theirs["job_uuid"]).count() == 1
    assert certificate["remains"]["balance"] == customer.balance
    assert customer.run_job()["status"] == "succeeded"
    assert customer.spent == spent + IMAGE


def test_a_purge_of_another_account_is_not_found(media_stack: MediaStack, customer: Customer) -> None:
    begun = customer.post("/api/chat/purge/").json
    stranger = media_stack.customer()
    unknown = stranger.get("/api/chat/purge/01890000-0000-7000-8000-000000000000/")
    foreign = stranger.get(f"/api/chat/purge/{begun['id']}/")
    assert (foreign.status, foreign.body) == (unknown.status, unknown.body) == (404, unknown.body)
    assert stranger.get("/api/chat/purge/x/").body == unknown.body
    again = customer.post("/api/chat/purge/")
    assert again.status == 202
    eventually(lambda: customer.get(f"/api/chat/purge/{begun['id']}/").json["status"] == "done", "it is done")
