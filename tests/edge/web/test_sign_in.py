"""Sign-up, sign-in and sign-out: who is admitted, the cookie, how sessions end, and no hint whether an account exists."""

from __future__ import annotations

import re

import pytest

from edge.web.sessions import SESSIONS_SHOWN
from shared.core.clock import now_ms
from shared.identity.attempt_limits import MAX_FAILURES_PER_PERSON
from shared.identity.visitor_id import network_digest
from shared.identity.web_sessions import IDLE_TIMEOUT_MS, MAX_LIFETIME_MS, agent_label, digest, expiry
from shared.models import AuditEntry, WebSession
from shared.operations.accounts import set_account_status
from shared.operations.web_accounts import MAX_CREDITED_SIGN_UPS, end_sessions, sign_up
from tests import factories
from tests.edge.web.conftest import COOKIE, PASSWORD, Browser, Site
from tests.factories import ORIGIN
from tests.servers.edge import SECRET_KEY


def test_changing_the_email_requires_the_password(site: Site) -> None:
    browser, stranger = site.browser(), factories.account()
    browser.sign_up("before@example.com")
    account = site.account("before@example.com")
    fields = {"email": "After@Example.com", "again": "after@example.com", "password_now": PASSWORD}
    for wrong, name in (
        ({"email": "nobody"}, "email"),
        ({"again": "afte@example.com"}, "again"),
        ({"password_now": "not the password"}, "password_now"),
        ({"email": stranger.email, "again": stranger.email}, "email"),
    ):
        answer = browser.submit_form("/account/email", {**fields, **wrong}, page="/account/sessions")
        assert answer.status == 422
        assert re.search(rf'id="{name}"[^>]*aria-invalid="true"', answer.body.decode())
    assert site.account("before@example.com").id == account.id
    changed = browser.submit_form("/account/email", fields, page="/account/sessions")
    assert changed.headers["location"] == "/account/sessions?done=email-changed"
    assert site.account("after@example.com").id == account.id
    assert browser.get("/account").status == 200  # the session continues
    for email, status in (("before@example.com", 403), ("after@example.com", 303)):
        assert site.browser().submit_form("/sign-in", {"email": email, "password": PASSWORD}).status == status


def test_sign_up_creates_an_account_with_the_opening_credits(site: Site, browser: Browser) -> None:
    email = browser.sign_up()
    account = site.account(email)
    assert (account.balance, account.password_hash.startswith("$argon2id$")) == (500_000, True)
    page = browser.get("/account")
    assert (page.status, b"500\xe2\x80\xaf000" in page.body) == (200, True)
    assert PASSWORD.encode() not in page.body


def test_only_the_digest_of_the_cookie_is_stored(site: Site, browser: Browser) -> None:
    account = site.account(browser.sign_up())
    (row,) = WebSession.select().where(WebSession.account == account)
    assert row.digest == digest(browser.cookies[COOKIE])
    assert row.agent == "Firefox on Linux"


def test_the_cookie_is_httponly_and_same_site(browser: Browser) -> None:
    browser.sign_up()
    (cookie,) = [header for header in browser.set_cookies if header.startswith(f"{COOKIE}=")]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Path=/" in cookie
    assert "Domain" not in cookie


def test_over_https_the_cookie_is_secure_and_host_only(site: Site) -> None:
    browser = site.browser(public_url="https://yout.example")
    browser.sign_up()
    cookie = next(header for header in browser.set_cookies if header.startswith("__Host-yout_session="))
    assert "Secure" in cookie
    assert "HttpOnly" in cookie
    assert browser.get("/account").status == 200


def test_a_cookie_with_the_wrong_name_is_ignored(site: Site, member: Browser) -> None:
    """With the `__Host-` prefix in use, a cookie that a sibling host could have set is ignored."""
    strict = site.browser(public_url="https://yout.example")
    strict.cookies["yout_session"] = member.cookies[COOKIE]
    assert strict.get("/account").status == 303


@pytest.mark.parametrize("email", ["nobody@example.com", "known@example.com", "no-password@example.com"])
def test_all_failed_sign_ins_get_the_same_response(site: Site, browser: Browser, email: str) -> None:
    if email == "known@example.com":
        site.browser().sign_up("known@example.com")
    if email == "no-password@example.com":
        factories.account(email=email)
    answer = browser.sign_in(email, "wrong horse battery")
    assert answer.status == 403
    result = re.sub(rb'value="[^"]*"', b"", answer.body)
    browser.cookies.clear()
    other = browser.sign_in("somebody-else@example.com", "wrong horse battery")
    assert re.sub(rb'value="[^"]*"', b"", other.body) == result


def test_too_many_failures_block_the_right_password_too(site: Site, browser: Browser) -> None:
    email = site.browser().sign_up()
    for _ in range(MAX_FAILURES_PER_PERSON):
        assert browser.sign_in(email, "wrong horse battery").status == 403
    answer = browser.sign_in(email)
    assert answer.status == 429
    assert 0 < int(answer.headers["retry-after"]) <= 15 * 60


def test_sign_in_replaces_the_previous_session(site: Site, browser: Browser) -> None:
    email = browser.sign_up()
    former = browser.cookies[COOKIE]
    browser.cookies.clear()
    browser.cookies[COOKIE] = "planted-by-somebody-else-0123456789"
    assert browser.sign_in(email).status == 303
    assert browser.cookies[COOKIE] not in (former, "planted-by-somebody-else-0123456789")
    assert browser.get("/account").status == 200


def test_sign_out_ends_the_session_on_the_server(site: Site, member: Browser) -> None:
    secret = member.cookies[COOKIE]
    assert member.submit_form("/sign-out", page="/account").status == 303
    assert COOKIE not in member.cookies
    thief = site.browser()
    thief.cookies[COOKIE] = secret
    assert thief.get("/account").status == 303
    assert thief.api("GET", "/api/chat/keys/").status == 401


def test_a_revoked_session_is_rejected_on_the_next_request_to_every_process(site: Site, browser: Browser) -> None:
    account = site.account(browser.sign_up())
    elsewhere = Browser(site.edge(visitor_rpm=21).port)
    elsewhere.cookies.update(browser.cookies)
    assert (browser.api("GET", "/api/chat/keys/").status, elsewhere.api("GET", "/api/chat/keys/").status) == (200, 200)
    end_sessions(account.id)
    assert (browser.api("GET", "/api/chat/keys/").status, elsewhere.api("GET", "/api/chat/keys/").status) == (401, 401)
    assert browser.get("/account").headers["location"] == "/sign-in?next=/account"


def test_signing_out_everywhere_keeps_the_current_session(site: Site, browser: Browser) -> None:
    email = browser.sign_up()
    other = site.browser()
    other.sign_in(email)
    assert other.get("/account").status == 200
    assert browser.submit_form("/sign-out-everywhere", page="/account/sessions").status == 303
    assert (browser.get("/account").status, other.get("/account").status) == (200, 303)


def test_a_new_password_ends_other_sessions_and_renews_the_current_one(site: Site, browser: Browser) -> None:
    email = browser.sign_up()
    other = site.browser()
    other.sign_in(email)
    former = browser.cookies[COOKIE]
    fields = {"current": PASSWORD, "password": "another horse battery"}
    assert browser.submit_form("/account/password", fields, page="/account/sessions").status == 303
    assert browser.cookies[COOKIE] != former
    assert (browser.get("/account").status, other.get("/account").status) == (200, 303)
    assert other.sign_in(email).status == 403
    assert other.sign_in(email, "another horse battery").status == 303


@pytest.mark.parametrize(("field", "value"), [("current", "wrong horse battery"), ("password", "short")])
def test_a_new_password_requires_the_current_one_and_twelve_characters(browser: Browser, field: str, value: str) -> None:
    browser.sign_up()
    fields = {"current": PASSWORD, "password": "another horse battery", field: value}
    answer = browser.submit_form("/account/password", fields, page="/account/sessions")
    assert answer.status == 422
    assert re.search(rb'id="%s"[^>]*aria-invalid' % field.encode(), answer.body)


def test_a_session_of_another_account_cannot_be_ended(site: Site, member: Browser) -> None:
    account = site.account(site.browser().sign_up())
    theirs = WebSession.get(WebSession.account == account).digest
    answers = [member.submit_form(f"/account/sessions/{id}/end", page="/account/sessions") for id in (theirs, "0" * 64)]
    assert [answer.status for answer in answers] == [404, 404]
    assert WebSession.get_by_id(theirs).revoked_at is None
    bodies = [re.sub(rb"req_\w+", b"", answer.body) for answer in answers]
    assert bodies[0] == bodies[1]


def test_a_suspended_account_sees_why_and_can_sign_out(site: Site, browser: Browser) -> None:
    email = browser.sign_up()
    set_account_status(email, "suspended", origin=ORIGIN)
    page = browser.get("/account")
    assert page.status == 403
    assert b"suspended" in page.body
    refused = browser.api("GET", "/api/chat/limit/")
    assert (refused.status, refused.error["code"]) == (403, "account_suspended")
    assert browser.submit_form("/sign-out", page="/").status == 303


def test_a_taken_email_is_rejected_without_details(site: Site, browser: Browser) -> None:
    email = site.browser().sign_up()
    answer = browser.submit_form("/sign-up", {"email": email.upper(), "password": "another horse battery"})
    assert answer.status == 422
    assert browser.sign_in(email, "another horse battery").status == 403


@pytest.mark.parametrize(("mode", "words"), [("invitation", b"needs an invitation"), ("off", b"Sign-up is closed")])
def test_sign_up_can_be_disabled(site: Site, mode: str, words: bytes) -> None:
    browser = site.browser(sign_up=mode)
    shown = browser.get("/sign-up")
    assert (shown.status, words in shown.body) == (404, True)
    token = browser.token("/sign-in")
    body = f"csrf_token={token}&email=a@example.com&password={'x' * 12}".encode()
    assert browser.post("/sign-up", body).status == 404
    assert b"/sign-up" not in browser.get("/").body


def test_sign_in_is_audited_without_the_password(site: Site, browser: Browser) -> None:
    account = site.account(browser.sign_up())
    entry = AuditEntry.get((AuditEntry.action == "account.sign_in") & (AuditEntry.target == str(account.id)))
    assert (entry.actor, entry.before, entry.after) == (f"account:{account.id}", None, None)


def test_sign_in_redirects_to_the_requested_page(site: Site, browser: Browser) -> None:
    email = site.browser().sign_up()
    door = browser.get("/account/keys?x=1").headers["location"]
    assert door == "/sign-in?next=/account/keys%3Fx%3D1"
    assert browser.submit_form(door, {"email": email, "password": PASSWORD}).headers["location"] == "/account/keys?x=1"


def test_a_session_ends_a_week_after_its_last_use_and_a_month_after_its_first() -> None:
    assert expiry(1_000, 1_000) == 1_000 + IDLE_TIMEOUT_MS
    assert expiry(1_000, MAX_LIFETIME_MS) == 1_000 + MAX_LIFETIME_MS


@pytest.mark.parametrize(
    ("agent", "label"),
    [
        ("Mozilla/5.0 (Windows NT 10.0; Win64) Chrome/142.0 Safari/537.36 Edg/142.0", "Edge on Windows"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Safari/604.1", "Safari on iPhone"),
        ("Mozilla/5.0 (Linux; Android 15) Chrome/142.0 Mobile Safari/537.36", "Chrome on Android"),
        ("curl/8.5", "An unknown browser"),
    ],
)
def test_a_session_shows_browser_and_operating_system(agent: str, label: str) -> None:
    assert agent_label(agent) == label


def test_opening_credits_are_limited_per_network_and_day(site: Site) -> None:
    browser = site.browser()
    network = network_digest(SECRET_KEY, browser.address, now_ms())
    for number in range(MAX_CREDITED_SIGN_UPS):
        sign_up(f"neighbour-{number}-{browser.address}@example.com", "hash", 1, network=network)
    assert site.account(browser.sign_up()).balance == 0
    assert site.account(site.browser().sign_up()).balance == 500_000


def test_the_list_of_sessions_is_limited(member: Browser) -> None:
    assert member.account is not None
    own = WebSession.get(WebSession.account == member.account.id)
    past = {**own.__data__, "seen_at": own.seen_at - 1}
    WebSession.insert_many([{**past, "digest": digest(f"other-{number}")} for number in range(SESSIONS_SHOWN)]).execute()
    page = member.get("/account/sessions").body.decode()
    assert (page.count("<tr><th scope"), "There may be more" in page) == (SESSIONS_SHOWN, True)
    assert "this browser" in page
