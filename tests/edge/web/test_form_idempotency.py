"""A form that creates something takes effect once, however often it is submitted, and its secret is shown once."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode

import pytest
from playwright.async_api import expect

from shared.models import Account, ApiKey, FormSubmission, RedeemCode
from shared.operations.redeem_codes import create_codes
from tests.conftest import OpenPage
from tests.edge.shared_edge import Reply
from tests.edge.web.conftest import Browser, Site
from tests.factories import ORIGIN

SECRET = re.compile(r'data-copy="(yout-\w+)"')


def keys_of(member: Browser) -> list[ApiKey]:
    assert member.account is not None
    return list(ApiKey.select().where(ApiKey.account == member.account.id))


def secret_on(page: Reply) -> str | None:
    found = SECRET.search(page.body.decode())
    return found[1] if found else None


def test_two_concurrent_submissions_create_one_key(site: Site, member: Browser) -> None:
    body = urlencode({**member.tokens("/account/keys"), "name": "twice"}).encode()
    with ThreadPoolExecutor(2) as pool:
        answers = [sent.result() for sent in [pool.submit(member.post, "/account/keys", body) for _ in range(2)]]
    assert [answer.status for answer in answers] == [303, 303]
    assert len({answer.headers["location"] for answer in answers}) == 1
    assert len(keys_of(member)) == 1
    shown = [member.follow(answer) for answer in answers]
    assert [secret_on(page) is not None for page in shown] == [True, False]
    assert b"cannot be shown again" in shown[1].body


def test_the_secret_is_shown_only_to_the_session_that_created_it(site: Site, member: Browser) -> None:
    address = member.submit_form("/account/keys", {"name": "mine"}).headers["location"]
    assert b"yout-" not in repr(list(FormSubmission.select().dicts())).encode()
    assert site.member().get(address).status == 404
    assert site.browser().get(address).headers["location"].startswith("/sign-in")
    assert member.request("HEAD", address).status == 200
    assert secret_on(member.get(address)) is not None


def test_a_token_accepts_one_content_only(member: Browser) -> None:
    tokens = member.tokens("/account/keys")
    assert member.post("/account/keys", urlencode({**tokens, "name": "one"}).encode()).status == 303
    other = member.post("/account/keys", urlencode({**tokens, "name": "two"}).encode())
    assert (other.status, b"This form was already used" in other.body) == (422, True)
    assert [key.name for key in keys_of(member)] == ["one"]


def test_a_rejected_form_can_be_corrected(member: Browser) -> None:
    tokens = member.tokens("/account/keys")
    assert member.post("/account/keys", urlencode({**tokens, "name": "x", "rpm": "no"}).encode()).status == 422
    assert member.post("/account/keys", urlencode({**tokens, "name": "x", "rpm": "5"}).encode()).status == 303


@pytest.mark.parametrize("path", ["/account/keys", "/account/redeem"])
def test_a_form_without_its_token_creates_nothing(member: Browser, path: str) -> None:
    token = member.token("/account/keys")
    answer = member.post(path, urlencode({"csrf_token": token, "name": "x", "code": "x"}).encode())
    assert (answer.status, b"form is incomplete" in answer.body) == (422, True)


def test_a_code_submitted_twice_is_redeemed_once(member: Browser) -> None:
    assert member.account is not None
    batch = create_codes(250, origin=ORIGIN)
    body = urlencode({**member.tokens("/account"), "code": batch.codes[0]}).encode()
    answers = [member.post("/account/redeem", body) for _ in range(2)]
    assert [answer.headers["location"] for answer in answers] == ["/account?done=redeemed"] * 2
    assert Account.get_by_id(member.account.id).balance == 500_250
    assert RedeemCode.get(RedeemCode.batch == batch.row).redeemed_at is not None


@pytest.mark.parametrize("running_site", ["sqlite"], indirect=True)
@pytest.mark.parametrize("javascript", [True, False])
async def test_double_click_reload_and_back_in_a_browser(site: Site, open_page: OpenPage, javascript: bool) -> None:
    member = site.member()
    page = await open_page(javascript=javascript)
    await member.copy_session_to(page)
    await page.goto(f"{site.edge().url}/account/keys")
    await page.fill("#name", "clicked twice")
    await page.dblclick("button:text('Create key')")
    await expect(page.locator("h1")).to_contain_text("clicked twice")
    assert len(keys_of(member)) == 1
    await page.reload()
    await expect(page.locator("main")).to_contain_text("cannot be shown again")
    await page.go_back()
    await page.fill("#name", "a second one")
    await page.click("button:text('Create key')")
    await expect(page.locator("h1")).to_contain_text("a second one")
    assert sorted(key.name for key in keys_of(member)) == ["a second one", "clicked twice"]
    await page.go_back()
    await page.go_forward()
    await expect(page.locator("main")).to_contain_text("cannot be shown again")
