"""The media page: models and prices, submitting jobs, and showing only the account's own jobs. No worker runs here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlencode
from uuid import uuid4

import pytest
from playwright.async_api import expect

from shared.core.clock import now_ms
from shared.models import Account, AIModel, Channel, MediaJob
from tests import factories
from tests.conftest import OpenPage
from tests.edge.web.conftest import Browser, Site
from tests.servers.process import eventually
from tests.upstream_responses import WAIT_SECONDS

IMAGE_PRICE, VIDEO_PRICE, SPEECH_PRICE = 40_000, 120_000, 15_000
ASKED = {"kind": "image", "model": "image-1", "prompt": "a lighthouse <b>", "size": "auto", "n": "2"}


@pytest.fixture
def studio(site: Site, member: Browser) -> Iterator[Browser]:
    """A signed-in browser on a site with media models, the first of their kinds. Cancels jobs that the test leaves unfinished."""
    media = {"input": 0, "output": 0, "minimum": 10}
    for id, options in {
        "image-1": {"kind": "image", "per_call": IMAGE_PRICE},
        "video-1": {"kind": "video", "per_5_seconds": VIDEO_PRICE},
        "voice-1": {"kind": "speech", "per_1k_characters": SPEECH_PRICE},
    }.items():
        if AIModel.get_or_none(AIModel.id == id) is None:
            factories.model(id, Channel.get(), **options, **media)
    eventually(lambda: b"voice-1" in member.get("/account/media?kind=speech").body, "the edge knows the new models")
    yield member
    for job in MediaJob.select().where(MediaJob.account == member.account, MediaJob.status == "queued"):
        member.submit_form(f"/account/media/jobs/{job.id}/cancel", page="/account/media")


def jobs_of(member: Browser) -> list[MediaJob]:
    return list(MediaJob.select().where(MediaJob.account == member.account).order_by(MediaJob.id))


def held(member: Browser) -> int:
    return int(Account.get_by_id(member.account.id).held)


def test_visitors_are_redirected_to_sign_in(browser: Browser) -> None:
    for path in ("/account/media", "/account/media/price?model=image-1", f"/account/media/jobs/{uuid4()}"):
        assert browser.get(path).status == 303


def test_a_form_submitted_twice_creates_one_job(studio: Browser) -> None:
    tokens = studio.tokens("/account/media")
    filled = urlencode({**tokens, **ASKED}).encode()
    assert [studio.post("/account/media", filled).status for _ in range(2)] == [303, 303]
    assert (len(jobs_of(studio)), held(studio)) == (1, 2 * IMAGE_PRICE)
    other = studio.post("/account/media", urlencode({**tokens, **ASKED, "prompt": "a ship"}).encode())
    assert (other.status, b"This form was already used" in other.body) == (409, True)
    assert len(jobs_of(studio)) == 1


@pytest.mark.parametrize(
    ("kind", "model", "price"),
    [
        ("image", "image-1", "40\u202f000 credits"),
        ("video", "video-1", "120\u202f000 credits"),
        ("speech", "voice-1", "10 credits"),
    ],
)
def test_the_page_lists_models_with_prices(studio: Browser, kind: str, model: str, price: str) -> None:
    html = studio.get(f"/account/media?kind={kind}").body.decode()
    assert f'<option value="{model}"' in html
    assert f"<b data-price>{price} (" in html
    assert "Nothing yet" in html


@pytest.mark.parametrize(
    ("query", "credits"),
    [
        ("model=image-1&n=3", "120\u202f000"),
        ("model=image-1&n=99", "400\u202f000"),
        ("model=image-1&n=-1", "40\u202f000"),
        ("model=video-1&seconds=5", "120\u202f000"),
        ("model=video-1&seconds=6", "240\u202f000"),
        ("model=voice-1&characters=0", "10"),
        ("model=voice-1&characters=1001", "15\u202f015"),
    ],
)
def test_the_price_depends_on_the_options(studio: Browser, query: str, credits: str) -> None:
    assert studio.get(f"/account/media/price?{query}").json["words"].startswith(f"{credits} credits (")


@pytest.mark.parametrize("model", ["", "m-1", "no-such-model"])
def test_only_media_models_have_a_price_here(studio: Browser, model: str) -> None:
    assert studio.get(f"/account/media/price?model={model}", {"accept": "application/json"}).status == 400


def test_a_job_holds_its_price_and_is_shown_until_cancelled(studio: Browser) -> None:
    answer = studio.submit_form("/account/media", ASKED)
    assert (answer.status, answer.headers["location"]) == (303, "/account/media?kind=image&done=media-ordered")
    [job] = jobs_of(studio)
    assert (job.kind, job.model, job.status, job.credits_held) == ("image", "image-1", "queued", 2 * IMAGE_PRICE)
    assert held(studio) == 2 * IMAGE_PRICE
    html = studio.get("/account/media?kind=image&done=media-ordered").body.decode()
    assert f'data-job="{job.id}" data-status="queued"' in html
    assert "80\u202f000 credits held" in html
    assert "lighthouse" not in html
    assert studio.submit_form(f"/account/media/jobs/{job.id}/cancel", page="/account/media").status == 303
    assert held(studio) == 0
    part = studio.get(f"/account/media/jobs/{job.id}").body.decode()
    assert "Cancelled. You were not charged." in part
    assert part.lstrip().startswith("<article")


def test_a_job_is_shown_only_to_its_owner(site: Site, studio: Browser) -> None:
    studio.submit_form("/account/media", ASKED)
    [job] = jobs_of(studio)
    other = site.member()
    assert other.get(f"/account/media/jobs/{job.id}").status == 404
    assert other.submit_form(f"/account/media/jobs/{job.id}/cancel", page="/account/media").status == 404
    assert str(job.id) not in other.get("/account/media").body.decode()
    assert held(studio) == 2 * IMAGE_PRICE


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"prompt": "  "}, 422, "must be a non-empty string"),
        ({"n": "11"}, 422, "between 1 and 10"),
        ({"n": "many"}, 422, "between 1 and 10"),
        ({"size": "huge"}, 422, "WIDTHxHEIGHT"),
        ({"model": ""}, 422, "a model id"),
        ({"model": "m-1"}, 404, "does not exist"),
        ({"kind": "video", "model": "video-1", "seconds": "99", "size": "1280x720"}, 422, "between 1 and 60"),
        ({"kind": "speech", "model": "voice-1", "speed": "9"}, 422, "between 0.25 and 4"),
    ],
)
def test_a_rejected_form_keeps_its_values(studio: Browser, fields: dict[str, str], status: int, words: str) -> None:
    answer = studio.submit_form("/account/media", ASKED | fields)
    html = answer.body.decode()
    assert answer.status == status
    assert words in html
    if fields.get("prompt") is None:
        assert "a lighthouse &lt;b&gt;</textarea>" in html
    assert jobs_of(studio) == []


def test_insufficient_credits_are_explained(studio: Browser) -> None:
    answer = studio.submit_form("/account/media", {"kind": "video", "model": "video-1", "prompt": "x", "seconds": "60"})
    assert answer.status == 402
    assert "needs at least 1440000 credits" in answer.body.decode()
    assert held(studio) == 0


def test_a_cross_site_form_creates_no_job(studio: Browser) -> None:
    assert studio.post("/account/media", b"kind=image&model=image-1&prompt=x").status == 403
    assert jobs_of(studio) == []


def test_the_api_accepts_a_session(studio: Browser) -> None:
    answer = studio.api("POST", "/api/media/image/", {"model": "image-1", "prompt": "x"})
    assert (answer.status, answer.json["credits_cost"]) == (202, IMAGE_PRICE)
    assert held(studio) == IMAGE_PRICE


async def test_progress_is_streamed_to_an_open_page(site: Site, studio: Browser, open_page: OpenPage) -> None:
    studio.submit_form("/account/media", ASKED)
    [job] = jobs_of(studio)
    MediaJob.update(status="running", progress=40).where(MediaJob.id == job.id).execute()
    page = await open_page()
    await studio.copy_session_to(page)
    await page.goto(f"{site.edge().url}/account/media")
    percent = page.locator("[data-percent]")
    await expect(percent).to_have_text("40 %")
    MediaJob.update(progress=55).where(MediaJob.id == job.id).execute()
    await expect(percent).to_have_text("55 %", timeout=WAIT_SECONDS * 1000)
    MediaJob.update(status="queued").where(MediaJob.id == job.id).execute()
    await expect(page.locator("[data-words]")).to_have_text("Queued", timeout=WAIT_SECONDS * 1000)


def test_older_jobs_are_on_the_next_page(studio: Browser) -> None:
    assert studio.account is not None
    for _ in range(14):
        done = {"status": "succeeded", "progress": 100, "credits_held": 1, "credits_charged": 1, "finished_at": now_ms()}
        times = {"due_at": now_ms(), "deadline_at": now_ms()}
        MediaJob.create(account=studio.account, kind="image", model="image-1", price=uuid4(), **done, **times)
    first = studio.get("/account/media?kind=image").body.decode()
    assert first.count("<article") == 12
    older = re.search(r'href="(/account/media\?kind=image&amp;after=[^"]+)"', first)
    assert older
    second = studio.get(older[1].replace("&amp;", "&")).body.decode()
    assert second.count("<article") == 2
    assert "The files have been deleted." in second
