"""Sign-in under abuse: bodies without a length, long addresses, and strangers who guess."""

from __future__ import annotations

import http.client
import unicodedata
from collections.abc import Iterator
from contextlib import closing, suppress
from urllib.parse import urlencode

import pytest
from argon2 import PasswordHasher

from edge.web.page_request import MAX_FORM_BYTES
from shared.identity.attempt_limits import BROWSER_COOKIE, FAILURES_A_PERSON
from shared.identity.passwords import hash_password
from shared.models import Account
from tests import factories
from tests.edge.web.conftest import PASSWORD, Browser, Site
from tests.upstream_responses import WAIT_SECONDS

WRONG = "wrong horse battery"


def send_chunked(browser: Browser, path: str, body: bytes) -> int:
    """The status of a form that is sent in chunks, without a length, until the server has had enough."""

    def pieces() -> Iterator[bytes]:
        for start in range(0, len(body), 10_000):
            yield body[start : start + 10_000]

    headers = {"content-type": "application/x-www-form-urlencoded", "origin": f"http://127.0.0.1:{browser.port}"}
    headers["cookie"] = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    headers["x-forwarded-for"] = browser.address
    with closing(http.client.HTTPConnection("127.0.0.1", browser.port, timeout=WAIT_SECONDS * 2)) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):  # it may answer before all was sent
            connection.request("POST", path, pieces(), headers, encode_chunked=True)
        return int(connection.getresponse().status)


@pytest.mark.parametrize("path", ["/sign-in", "/sign-up", "/account/keys"])
def test_a_body_without_a_length_is_bounded_like_any(member: Browser, path: str) -> None:
    token = member.token("/account/keys")
    fields = {"csrf_token": token, "email": "a@example.com", "password": PASSWORD, "name": " "}
    small, large = urlencode(fields).encode(), urlencode({**fields, "email": "x" * MAX_FORM_BYTES}).encode()
    assert send_chunked(member, path, small) in (403, 422, 303)
    assert send_chunked(member, path, large) == 413


def test_an_address_that_is_too_long_is_refused_before_it_is_kept(browser: Browser) -> None:
    answer = browser.sign_in("x" * 300 + "@example.com")
    assert (answer.status, b"at most 254 characters" in answer.body, b"xxxxx" in answer.body) == (422, True, False)
    assert browser.send("/sign-up", {"email": "x" * 300 + "@example.com", "password": PASSWORD}).status == 422


def test_a_stranger_who_guesses_does_not_lock_the_owner_out(site: Site) -> None:
    email, stranger = site.browser().sign_up(), site.browser()
    for _ in range(FAILURES_A_PERSON):
        assert stranger.sign_in(email, WRONG).status == 403
    assert stranger.sign_in(email).status == 429
    assert site.browser().sign_in(email).status == 303


def test_a_browser_that_signed_in_before_is_not_locked_out_by_its_neighbours(site: Site) -> None:
    owner, stranger = site.browser(), site.browser()
    email = owner.sign_up()
    stranger.address = owner.address
    owner.send("/sign-out", page="/account")
    for _ in range(FAILURES_A_PERSON):
        stranger.sign_in(email, WRONG)
    assert stranger.sign_in(email).status == 429
    assert owner.sign_in(email).status == 303
    stranger.cookies[BROWSER_COOKIE] = "x" * 22 + ".9999999999999." + "0" * 32
    assert stranger.sign_in(email).status == 429


def test_the_own_password_is_not_guessed_without_end_by_an_open_session(site: Site, browser: Browser) -> None:
    email = browser.sign_up()
    tokens = browser.tokens("/account/sessions")
    guess = urlencode({**tokens, "current": WRONG, "password": "another horse battery"}).encode()
    for _ in range(FAILURES_A_PERSON):
        assert browser.post("/account/password", guess).status == 422
    right = urlencode({**tokens, "current": PASSWORD, "password": "another horse battery"}).encode()
    assert browser.post("/account/password", right).status == 429
    assert site.browser().sign_in(email).status == 303, "the door is another matter"


def test_a_password_and_an_address_are_the_same_from_every_keyboard(site: Site) -> None:
    password = "drei grüne Äpfel"
    site.browser().sign_up("Jürgen@xn--bcher-kva.example", password)
    for form in ("NFC", "NFD"):
        email, typed = (unicodedata.normalize(form, text) for text in ("jürgen@BÜCHER.example", password))
        assert site.browser().sign_in(email, typed).status == 303
    taken = site.browser().send("/sign-up", {"email": "jürgen@bücher.example", "password": PASSWORD})
    assert taken.status == 422
    Account.delete().where(Account.email == "jürgen@bücher.example").execute()


def test_a_hash_of_former_days_is_replaced_at_the_next_sign_in(site: Site, browser: Browser) -> None:
    account = factories.account()
    former = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    Account.update(password_hash=former).where(Account.id == account.id).execute()
    assert browser.sign_in(account.email).status == 303
    assert browser.get("/account").status == 200
    today = Account.get_by_id(account.id).password_hash
    assert today != former
    assert today.split("$")[3] == hash_password(PASSWORD).split("$")[3]
    assert site.browser().sign_in(account.email).status == 303


def test_a_site_that_needs_https_says_so(site: Site) -> None:
    browser = site.browser(public_url="https://yout.example")
    token = browser.token("/sign-in")
    browser.cookies.clear()  # what a browser does with Secure cookies that came by plain http
    answer = browser.post("/sign-in", urlencode({"csrf_token": token, "email": "a@example.com", "password": PASSWORD}).encode())
    host = f"127.0.0.1:{browser.port}"
    assert (answer.status, b"needs HTTPS" in answer.body, host.encode() in answer.body) == (403, True, True)


def test_a_proxy_that_changes_the_host_is_named(browser: Browser) -> None:
    body = urlencode({"csrf_token": browser.token("/sign-in"), "email": "a@example.com", "password": PASSWORD}).encode()
    answer = browser.post("/sign-in", body, {"origin": "https://yout.example", "host": "backend:8000"})
    assert answer.status == 403
    for words in (b"from https://yout.example", b"for the host backend:8000", b"pass on the Host header", b"YOUT_PUBLIC_URL"):
        assert words in answer.body
