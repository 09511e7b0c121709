"""Sign-in through a real OpenID provider: with several processes, replays, the provider down, and a walk in a browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.async_api import expect

from shared.core.clock import new_id, now_ms
from shared.models import PersonIdentity, WebSession
from shared.operations.accounts import create_account
from shared.operations.identities import identities_of
from tests.conftest import OpenPage
from tests.edge.shared_edge import Reply
from tests.edge.web.conftest import COOKIE, PASSWORD, Browser, Site
from tests.factories import ORIGIN
from tests.page_checks import check_page
from tests.servers.browser import PHONE
from tests.servers.openid import CLIENT_ID, CLIENT_SECRET, OpenIdProvider

only_sqlite = pytest.mark.parametrize("running_site", ["sqlite"], indirect=True)
FLOW = "yout_openid"
CALLBACK = "/sign-in/oidc/callback"


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenIdProvider]:
    made = OpenIdProvider(tmp_path_factory.mktemp("openid"))
    yield made
    made.process.kill()


@pytest.fixture
def settings(provider: OpenIdProvider) -> dict[str, Any]:
    return {"oidc_issuer": provider.url, "oidc_client_id": CLIENT_ID, "oidc_client_secret": CLIENT_SECRET}


@pytest.fixture
def person(provider: OpenIdProvider) -> Callable[..., str]:
    """`person(verified=True)`: someone new whom the provider knows; returns their email address, which is also the subject."""

    def make(*, verified: bool = True) -> str:
        email = f"{new_id().hex}@example.com"
        provider.set_user(email, email=email, email_verified=verified)
        return email

    return make


def sign_in(browser: Browser, provider: OpenIdProvider, subject: str, path: str = "/sign-in/oidc") -> Reply:
    begun = browser.get(path)
    assert begun.status == 303, begun.body.decode()
    return browser.get(provider.approve(begun.headers["location"], subject))


@pytest.mark.parametrize("running_site", ["postgresql"], indirect=True)
def test_any_process_finishes_a_sign_in_once(
    site: Site, provider: OpenIdProvider, settings: dict[str, Any], person: Callable[..., str]
) -> None:
    settings |= {"public_url": "http://yout.test"}
    browser, email = site.browser(**settings), person()
    second = site.edge(**settings, call_seconds=901)
    begun = browser.get("/sign-in/oidc?next=/account/keys")
    cookie, back = browser.cookies[FLOW], provider.approve(begun.headers["location"], email)

    stranger = site.browser(**settings).get(back)
    browser.port = second.port
    done = browser.get(back)

    assert stranger.status == 403
    assert b"begun in another browser" in stranger.body
    assert done.headers["location"] == "/account/keys?done=welcome"
    assert FLOW not in browser.cookies
    assert any(header.startswith(f"{COOKIE}=") and "HttpOnly" in header for header in browser.set_cookies)
    assert browser.get("/account/keys").status == 200
    assert site.account(email).balance == 500_000
    replay = site.browser(**settings)
    replay.cookies[FLOW] = cookie
    assert replay.get(back).status == 429  # counted by the other process
    assert COOKIE not in replay.cookies


@only_sqlite
def test_a_provider_that_refuses_or_is_down_gives_a_clear_page(site: Site, settings: dict[str, Any]) -> None:
    browser = site.browser(**settings)
    begun = browser.get("/sign-in/oidc?next=//evil.example")
    state = begun.headers["location"].partition("state=")[2].partition("&")[0]
    cancelled = browser.get(f"{CALLBACK}?error=access_denied&error_description=<b>no</b>&state={state}")
    assert (cancelled.status, b"cancelled" in cancelled.body, b"<b>no" in cancelled.body) == (403, True, False)
    assert b"evil.example" not in cancelled.body
    for query in ("", "?code=x", "?state=&code=x"):
        assert browser.get(CALLBACK + query).status == 403

    down = site.browser(**settings | {"oidc_issuer": "http://127.0.0.1:9"})  # the port "discard", which nobody listens on
    shown = down.get("/sign-in/oidc?next=/calls")
    assert shown.status == 503
    assert b"identity provider is not responding" in shown.body
    assert b'href="/sign-in?next=%2Fcalls"' in shown.body or b'href="/sign-in?next=/calls"' in shown.body
    assert b"Continue with 127.0.0.1" in down.get("/sign-in").body
    none = site.browser()
    assert none.get("/sign-in/oidc").status == none.get(CALLBACK).status == 404
    assert b"Continue with" not in none.get("/sign-in").body


@only_sqlite
def test_an_identity_is_connected_with_the_password(
    site: Site, provider: OpenIdProvider, settings: dict[str, Any], person: Callable[..., str]
) -> None:
    browser, email = site.browser(**settings), person()
    browser.sign_up(email)
    account = site.account(email)
    other = site.browser(**settings)

    refused = sign_in(other, provider, email)  # signed up here by anyone, unverified
    assert refused.status == 403
    assert b"already exists" in refused.body

    for fields in ({}, {"password": "wrong"}):
        assert browser.submit_form("/account/identities/connect", fields, page="/account/security").status == 422
    page = browser.submit_form("/account/identities/connect", {"password": PASSWORD}, page="/account/security")
    assert page.status == 200
    url = page.body.decode().partition('primary" href="')[2].partition('"')[0].replace("&amp;", "&")
    done = browser.get(provider.approve(url, email))
    assert done.headers["location"] == "/account/security?done=identity-connected"
    assert sign_in(other, provider, email).headers["location"] == "/account"

    [row] = identities_of(account.id)
    path = f"/account/identities/{row.id}/disconnect"
    assert site.member(**settings).submit_form(path, {"password": "x"}, page="/account/security").status == 422
    assert browser.submit_form(path, {"password": "wrong"}, page="/account/security").status == 422
    assert browser.submit_form(path, {"password": PASSWORD}, page="/account/security").status == 303
    assert PersonIdentity.select().where(PersonIdentity.person == account.id).count() == 0


@only_sqlite
def test_a_person_without_a_password_needs_a_fresh_sign_in(
    site: Site, provider: OpenIdProvider, settings: dict[str, Any], person: Callable[..., str]
) -> None:
    browser, email = site.browser(**settings), person()
    create_account(email, origin=ORIGIN)
    assert sign_in(browser, provider, email).headers["location"] == "/account"  # created by staff, so it is linked
    assert browser.submit_form("/account/identities/connect", page="/account/security").status == 200
    WebSession.update(created_at=now_ms() - 11 * 60_000).where(WebSession.account == site.account(email).id).execute()
    stale = browser.submit_form("/account/identities/connect", page="/account/security")
    assert stale.status == 422
    assert b"Sign out and in again" in stale.body
    WebSession.update(created_at=now_ms()).where(WebSession.account == site.account(email).id).execute()
    [row] = identities_of(site.account(email).id)
    last = browser.submit_form(f"/account/identities/{row.id}/disconnect", page="/account/security")
    assert b"This is your only way to sign in" in last.body


@only_sqlite
async def test_a_walk_in_a_browser(
    site: Site, settings: dict[str, Any], person: Callable[..., str], open_page: OpenPage, axe: str
) -> None:
    edge, email = site.edge(**settings), person()
    page = await open_page(viewport=PHONE, javascript=False)
    await page.goto(f"{edge.url}/account/usage")
    await page.click("text=Continue with 127.0.0.1")
    await page.fill("input[name=sub]", email)
    await page.click("button:has-text('Authorize')")
    await expect(page.locator("h1")).to_have_text("Usage")
    await expect(page.locator(".who")).to_contain_text(email)

    desk = await open_page()
    await desk.context.add_cookies(await page.context.cookies())  # type: ignore[arg-type]  # Playwright's types differ
    await desk.goto(f"{edge.url}/account/security")
    await expect(desk.locator("main")).to_contain_text("your sign-in must be less than 10 minutes old")
    await check_page(desk, axe, "security-identities")
    await desk.click("text=Connect another identity")
    await check_page(desk, axe, "connect")
    await desk.click("text=Continue to 127.0.0.1")
    await desk.fill("input[name=sub]", "second@example.com")
    await desk.click("button:has-text('Authorize')")
    await expect(desk.locator(".flash")).to_contain_text("Identity connected")
    await expect(desk.locator("main tbody tr")).to_have_count(2)
    await desk.click("tr:has-text('second@example.com') >> button")
    await expect(desk.locator(".flash")).to_contain_text("Identity disconnected")
    await desk.click("text=Sign out")
    await expect(desk.locator(".flash")).to_have_text("You have been signed out.")
    await check_page(desk, axe, "sign-in-openid")
    desk.problems.clear()  # type: ignore[attr-defined]  # the provider's page names a style sheet of another host
