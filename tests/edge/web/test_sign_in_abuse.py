"""Sign-in under abuse: bodies without a length, long emails, and password guessing."""

from __future__ import annotations

import http.client
import unicodedata
from collections.abc import Iterator
from contextlib import closing, suppress
from urllib.parse import urlencode

import pytest
from argon2 import PasswordHasher

from edge.web.page_request import MAX_FORM_BYTES
from shared.identity.attempt_limits import BROWSER_COOKIE, MAX_FAILURES_PER_PERSON
from shared.identity.passwords import hash_password
from shared.models import Account
from tests import factories
from tests.edge.web.conftest import PASSWORD, Browser, Site
from tests.upstream_responses import WAIT_SECONDS

WRONG = "wrong horse battery"


def send_chunked(browser: Browser, path: str, body: bytes) -> int:
    """Post a form chunked, without Content-Length, until the server responds; returns the status."""

    def pieces() -> Iterator[bytes]:
        for start in range(0, len(body), 10_000):
            yield body[start : start + 10_000]

    headers = {"content-type": "application/x-www-form-urlencoded", "origin": f"http://127.0.0.1:{browser.port}"}
    headers["cookie"] = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    headers["x-forwarded-for"] = browser.address
    with closing(http.client.HTTPConnection("127.0.0.1", browser.port, timeout=WAIT_SECONDS * 2)) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):  # the server may respond before everything was sent
            connection.request("POST", path, pieces(), headers, encode_chunked=True)
        return int(connection.getresponse().status)


@pytest.mark.parametrize("path", ["/sign-in", "/sign-up", "/account/keys"])
def test_a_body_without_content_length_is_limited_too(member: Browser, path: str) -> None:
    token = member.token("/account/keys")
    fields = {"csrf_token": token, "email": "a@example.com", "password": PASSWORD, "name": " "}
    small, large = urlencode(fields).encode(), urlencode({**fields, "email": "x" * MAX_FORM_BYTES}).encode()
    assert send_chunked(member, path, small) in (403, 422, 303)
    assert send_chunked(member, path, large) == 413


def test_a_too_long_email_is_rejected_before_it_is_stored(browser: Browser) -> None:
    answer = browser.sign_in("x" * 300 + "@example.com")
    assert (answer.status, b"at most 254 characters" in answer.body, b"xxxxx" in answer.body) == (422, True, False)
    assert browser.submit_form("/sign-up", {"email": "x" * 300 + "@example.com", "password": PASSWORD}).status == 422


def test_failed_guesses_do_not_lock_out_the_owner(site: Site) -> None:
    email, stranger = site.browser().sign_up(), site.browser()
    for _ in range(MAX_FAILURES_PER_PERSON):
        assert stranger.sign_in(email, WRONG).status == 403
    assert stranger.sign_in(email).status == 429
    assert site.browser().sign_in(email).status == 303


def test_a_known_browser_is_not_locked_out_by_others_in_its_network(site: Site) -> None:
    owner, stranger = site.browser(), site.browser()
    email = owner.sign_up()
    stranger.address = owner.address
    owner.submit_form("/sign-out", page="/account")
    for _ in range(MAX_FAILURES_PER_PERSON):
        stranger.sign_in(email, WRONG)
    assert stranger.sign_in(email).status == 429
    assert owner.sign_in(email).status == 303
    stranger.cookies[BROWSER_COOKIE] = "x" * 22 + ".9999999999999." + "0" * 32
    assert stranger.sign_in(email).status == 429


def test_password_guesses_in_an_open_session_are_limited(site: Site, browser: Browser) -> None:
    email = browser.sign_up()
    tokens = browser.tokens("/account/sessions")
    guess = urlencode({**tokens, "current": WRONG, "password": "another horse battery"}).encode()
    for _ in range(MAX_FAILURES_PER_PERSON):
        assert browser.post("/account/password", guess).status == 422
    right = urlencode({**tokens, "current": PASSWORD, "password": "another horse battery"}).encode()
    assert browser.post("/account/password", right).status == 429
    assert site.browser().sign_in(email).status == 303, "signing in has its own limit"


def test_password_and_email_match_in_every_unicode_form(site: Site) -> None:
    password = "drei grüne Äpfel"
    site.browser().sign_up("Jürgen@xn--bcher-kva.example", password)
    for form in ("NFC", "NFD"):
        email, typed = (unicodedata.normalize(form, text) for text in ("jürgen@BÜCHER.example", password))
        assert site.browser().sign_in(email, typed).status == 303
    taken = site.browser().submit_form("/sign-up", {"email": "jürgen@bücher.example", "password": PASSWORD})
    assert taken.status == 422


def test_an_outdated_hash_is_replaced_at_the_next_sign_in(site: Site, browser: Browser) -> None:
    account = factories.account()
    former = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    Account.update(password_hash=former).where(Account.id == account.id).execute()
    assert browser.sign_in(account.email).status == 303
    assert browser.get("/account").status == 200
    today = Account.get_by_id(account.id).password_hash
    assert today != former
    assert today.split("$")[3] == hash_password(PASSWORD).split("$")[3]
    assert site.browser().sign_in(account.email).status == 303


def test_sign_in_over_http_explains_that_https_is_required(site: Site) -> None:
    browser = site.browser(public_url="https://yout.example")
    token = browser.token("/sign-in")
    browser.cookies.clear()  # browsers drop Secure cookies received over plain HTTP
    answer = browser.post("/sign-in", urlencode({"csrf_token": token, "email": "a@example.com", "password": PASSWORD}).encode())
    host = f"127.0.0.1:{browser.port}"
    assert (answer.status, b"requires HTTPS" in answer.body, host.encode() in answer.body) == (403, True, True)


def test_a_proxy_that_changes_the_host_is_explained(browser: Browser) -> None:
    body = urlencode({"csrf_token": browser.token("/sign-in"), "email": "a@example.com", "password": PASSWORD}).encode()
    answer = browser.post("/sign-in", body, {"origin": "https://yout.example", "host": "backend:8000"})
    assert answer.status == 403
    for words in (b"origin https://yout.example", b"the host backend:8000", b"forward the Host header", b"YOUT_PUBLIC_URL"):
        assert words in answer.body
