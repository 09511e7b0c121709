"""Sign-in with GitHub: who gets which account, and an OpenID provider beside it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from shared.core.clock import new_id
from shared.models import Account, PersonIdentity
from shared.openid.github import api_url
from shared.operations.identities import identities_of
from shared.operations.verification import confirm_email
from tests.conftest import OpenPage
from tests.edge.shared_edge import Reply
from tests.edge.web.conftest import COOKIE, PASSWORD, Browser, Site
from tests.factories import ORIGIN
from tests.page_checks import check_page
from tests.servers.github import CLIENT_ID, CLIENT_SECRET, GitHubServer
from tests.servers.openid import CLIENT_ID as OIDC_ID
from tests.servers.openid import CLIENT_SECRET as OIDC_SECRET
from tests.servers.openid import OpenIdProvider

only_sqlite = pytest.mark.parametrize("running_site", ["sqlite"], indirect=True)
BEGIN, CALLBACK = "/sign-in/github", "/sign-in/github/callback"
_ids = itertools.count(1_000)


@pytest.fixture(scope="module")
def github() -> Iterator[GitHubServer]:
    server = GitHubServer()
    yield server
    server.close()


@pytest.fixture
def settings(github: GitHubServer) -> dict[str, Any]:
    return {"github_client_id": CLIENT_ID, "github_client_secret": CLIENT_SECRET, "github_url": github.url}


@pytest.fixture
def person(github: GitHubServer) -> Callable[..., tuple[int, str]]:
    """`person(verified=True)`: someone new at GitHub, with a second address; returns their id and primary address."""

    def make(*, verified: bool = True) -> tuple[int, str]:
        id, email = next(_ids), f"{new_id().hex}@example.com"
        github.set_user(id, f"login-{id}", (f"second-{email}", False, True), (email, True, verified))
        return id, email

    return make


def sign_in(browser: Browser, github: GitHubServer, id: int, path: str = BEGIN) -> Reply:
    begun = browser.get(path)
    assert begun.status == 303, begun.body.decode()
    return browser.get(github.approve(begun.headers["location"], id))


def test_a_verified_primary_address_signs_up_and_the_number_is_the_identity(
    site: Site, github: GitHubServer, settings: dict[str, Any], person: Callable[..., tuple[int, str]]
) -> None:
    id, email = person()
    browser = site.browser(**settings)
    assert b"Continue with 127.0.0.1" in browser.get("/sign-in").body
    done = sign_in(browser, github, id, f"{BEGIN}?next=/account/keys")
    assert done.headers["location"] == "/account/keys?done=welcome"
    account = site.account(email)
    assert (account.balance, account.email_verified_at is not None) == (500_000, True)
    [row] = identities_of(account.id)
    assert (row.issuer, row.subject, row.email) == (github.url, str(id), email)

    github.set_user(id, "another-name", ("another@example.com", True, True))
    assert sign_in(site.browser(**settings), github, id).headers["location"] == "/account"
    assert not Account.select().where(Account.email == "another@example.com").exists()


@only_sqlite
def test_an_address_that_is_not_primary_and_verified_does_not_count(
    site: Site, github: GitHubServer, settings: dict[str, Any], person: Callable[..., tuple[int, str]]
) -> None:
    id, email = person(verified=False)
    browser = site.browser(**settings)
    refused = sign_in(browser, github, id)
    assert (refused.status, b"did not send your email address" in refused.body) == (403, True)
    assert COOKIE not in browser.cookies
    assert not Account.select().where(Account.email.in_([email, f"second-{email}"])).exists()


@only_sqlite
def test_the_rules_of_linking_are_those_of_openid(
    site: Site, github: GitHubServer, settings: dict[str, Any], person: Callable[..., tuple[int, str]]
) -> None:
    id, email = person()
    owner = site.browser(**settings)
    owner.sign_up(email)
    refused = sign_in(site.browser(**settings), github, id)  # signed up here by anyone, unverified
    assert (refused.status, b"already exists" in refused.body) == (403, True)

    fields = {"provider": "github", "password": PASSWORD}
    page = owner.submit_form("/account/identities/connect", fields, page="/account/security")
    url = page.body.decode().partition('primary" href="')[2].partition('"')[0].replace("&amp;", "&")
    assert owner.get(github.approve(url, id)).headers["location"] == "/account/security?done=identity-connected"
    assert sign_in(site.browser(**settings), github, id).headers["location"] == "/account"

    other, address = person()
    site.browser().sign_up(address)
    confirm_email(site.account(address).id, address, origin=ORIGIN)
    assert sign_in(site.browser(**settings), github, other).headers["location"] == "/account"
    assert PersonIdentity.select().where(PersonIdentity.person == site.account(address).id).count() == 1


@only_sqlite
def test_refusals_replays_and_failures(
    site: Site, github: GitHubServer, settings: dict[str, Any], person: Callable[..., tuple[int, str]]
) -> None:
    id, _ = person()
    browser = site.browser(**settings)
    begun = browser.get(BEGIN).headers["location"]
    cookie, back = browser.cookies["yout_openid"], github.approve(begun, id)
    state = back.partition("&state=")[2]
    for query, status in (("?error=access_denied", 403), ("?code=wrong", 403), ("?code=x&iss=https://evil.example", 403)):
        stranger = site.browser(**settings)
        stranger.get(BEGIN)
        own = stranger.get(BEGIN).headers["location"].partition("state=")[2].partition("&")[0]
        assert stranger.get(f"{CALLBACK}{query}&state={own}").status == status
        assert COOKIE not in stranger.cookies
    assert site.browser(**settings).get(back).status == 403  # begun in another browser
    assert browser.get(back).headers["location"].startswith("/account")
    browser.cookies["yout_openid"] = cookie
    assert browser.get(f"{CALLBACK}?code=x&state={state}").status == 429  # a flow works once

    github.down = True
    down = site.browser(**settings)
    failed = sign_in(down, github, id)
    github.down = False
    assert (failed.status, b"not responding" in failed.body) == (503, True)
    assert site.browser().get(BEGIN).status == site.browser().get(CALLBACK).status == 404


@only_sqlite
async def test_both_providers_are_offered_and_a_flow_stays_with_its_own(
    site: Site,
    github: GitHubServer,
    settings: dict[str, Any],
    person: Callable[..., tuple[int, str]],
    tmp_path_factory: pytest.TempPathFactory,
    open_page: OpenPage,
    axe: str,
) -> None:
    provider = OpenIdProvider(tmp_path_factory.mktemp("openid"))
    try:
        both = settings | {"oidc_issuer": provider.url, "oidc_client_id": OIDC_ID, "oidc_client_secret": OIDC_SECRET}
        browser, (id, _) = site.browser(**both), person()
        state = browser.get("/sign-in/oidc").headers["location"].partition("state=")[2].partition("&")[0]
        begun = browser.cookies["yout_openid"]
        code = github.approve(site.browser(**both).get(BEGIN).headers["location"], id).partition("code=")[2].partition("&")[0]
        browser.cookies["yout_openid"] = begun
        assert browser.get(f"{CALLBACK}?code={code}&state={state}").status == 403
        assert COOKIE not in browser.cookies

        assert sign_in(browser, github, id).headers["location"].startswith("/account")
        page = await open_page()
        url = f"http://127.0.0.1:{browser.port}"
        await page.goto(f"{url}/sign-in")
        assert await page.locator("a[href^='/sign-in/']").count() == 2
        await check_page(page, axe, "sign-in-two-providers")
        await browser.copy_session_to(page)
        await page.goto(f"{url}/account/security")
        assert await page.locator("button[name=provider]").count() == 2
        await check_page(page, axe, "security-two-providers")
    finally:
        provider.process.kill()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://github.com", "https://api.github.com"),
        ("https://corp.ghe.com", "https://api.corp.ghe.com"),
        ("https://github.corp.example", "https://github.corp.example/api/v3"),
    ],
)
def test_the_address_of_the_api(url: str, expected: str) -> None:
    assert api_url(url) == expected
