"""Requests authenticated by a cookie must come from our own pages, with their CSRF token."""

from __future__ import annotations

import pytest

from tests.edge.web.conftest import PASSWORD, Browser, Site

FOREIGN = [{"origin": "https://evil.example"}, {"origin": "null"}, {"origin": "http://127.0.0.1:1"}]
FORMS = ["/account/keys", "/account/password", "/sign-out", "/sign-out-everywhere", "/sign-in", "/sign-up"]
CALLS = [("/api/chat/keys/", b'{"name": "x"}'), ("/api/chat/stream/", b'{"model": "free", "prompt": "Hi"}')]


@pytest.mark.parametrize("path", FORMS)
def test_a_form_without_its_token_changes_nothing(member: Browser, path: str) -> None:
    assert member.post(path, b"name=x").status == 403
    assert member.post(path, b"name=x&csrf_token=" + b"0" * 64).status == 403
    assert member.get("/account").status == 200


@pytest.mark.parametrize("headers", FOREIGN)
def test_a_cross_site_form_changes_nothing_even_with_the_token(member: Browser, headers: dict[str, str]) -> None:
    assert member.submit_form("/sign-out", page="/account", headers=headers).status == 403
    assert member.get("/account").status == 200


def test_a_token_is_valid_for_one_session_only(site: Site, member: Browser) -> None:
    token = site.member().token("/account/keys")
    assert member.post("/account/keys", f"name=x&csrf_token={token}".encode()).status == 403


def test_login_csrf_is_prevented(site: Site, browser: Browser) -> None:
    """The sign-in form's token is bound to a cookie that an attacker cannot set."""
    email = site.browser().sign_up()
    stranger_token = site.browser().token("/sign-in")
    browser.get("/sign-in")
    body = f"csrf_token={stranger_token}&email={email}&password={PASSWORD}".encode()
    assert browser.post("/sign-in", body).status == 403


@pytest.mark.parametrize(("path", "body"), CALLS)
def test_a_cookie_authenticated_call_requires_the_token(member: Browser, path: str, body: bytes) -> None:
    sent = {"accept": "application/json", "content-type": "application/json"}
    answer = member.post(path, body, sent)
    assert (answer.status, answer.error["code"]) == (403, "csrf_failed")
    answer = member.post(path, body, {**sent, "x-csrf-token": "0" * 64})
    assert (answer.status, answer.error["code"]) == (403, "csrf_failed")


@pytest.mark.parametrize("headers", [*FOREIGN, {"origin": "", "sec-fetch-site": "cross-site"}])
@pytest.mark.parametrize(("path", "body"), CALLS)
def test_a_cross_site_call_is_rejected(member: Browser, path: str, body: bytes, headers: dict[str, str]) -> None:
    token = member.token("/account/keys")
    answer = member.post(path, body, {"accept": "application/json", "x-csrf-token": token, **headers})
    assert (answer.status, answer.error["code"]) == (403, "foreign_origin")


def test_another_site_cannot_spend_a_visitors_allowance(browser: Browser) -> None:
    sent = {"accept": "application/json", "origin": "https://evil.example", "content-type": "text/plain"}
    answer = browser.post("/api/chat/stream/", b'{"model": "free", "prompt": "Hi"}', sent)
    assert (answer.status, answer.error["code"]) == (403, "foreign_origin")


def test_a_key_needs_no_token_even_with_a_cookie(site: Site, member: Browser) -> None:
    made = member.api("POST", "/api/chat/keys/", {"name": "mine"}).json
    sent = {"authorization": f"Bearer {made['secret']}", "origin": "https://elsewhere.example", "accept": "application/json"}
    assert member.request("POST", "/api/chat/keys/", b'{"name": "more"}', sent).status == 201


def test_the_size_of_a_form_is_limited(member: Browser) -> None:
    answer = member.post("/account/keys", b"csrf_token=x&name=" + b"x" * 100_000)
    assert answer.status == 413
