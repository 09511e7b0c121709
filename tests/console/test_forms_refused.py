"""Forms that the console rejects regardless of the sender: cross-site, too large, unreadable, too many at once."""

from __future__ import annotations

import http.client
from contextlib import ExitStack, closing

import pytest

from console.app import MAX_FORM_BYTES, create_app
from console.security.password_auth import MAX_WAITING
from shared.identity.attempt_limits import MAX_FAILURES_PER_PERSON
from shared.models import StaffSession
from tests.console.conftest import Browser
from tests.upstream_responses import WAIT_SECONDS

FOREIGN = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://localhost:1"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
]
OWN = [{}, {"Origin": "http://localhost"}, {"Origin": "https://localhost"}, {"Sec-Fetch-Site": "same-origin"}]
PAGES = ["/accounts/", "/keys/", "/usage/", "/ledger/", "/audit/", "/jobs/", "/holds/"]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_a_valid_token_is_rejected_from_another_site(signed_in, browser, headers) -> None:
    person = signed_in("owner")
    hidden = person.form("/", "/logout")
    refused = person.post("/logout", hidden, headers=headers)
    assert (refused.status_code, "Form rejected" in refused.text) == (400, True)
    assert StaffSession.get().revoked_at is None
    assert browser.sign_in("owner@yout.example", headers=headers).status_code == 400


@pytest.mark.parametrize("headers", OWN, ids=str)
def test_a_same_origin_form_is_accepted(staff, browser, headers) -> None:
    staff("owner")
    assert browser.sign_in("owner@yout.example", headers=headers).status_code == 303


def test_a_proxy_that_changes_the_host_is_explained(browser) -> None:
    headers = {"Origin": "https://console.example", "Host": "backend:8001"}
    answer = browser.sign_in("owner@yout.example", headers=headers)
    for words in ("from https://console.example", "to backend:8001", "pass on the original Host header"):
        assert words in answer.text


def test_sign_in_over_http_explains_that_https_is_required(bound_database, make_settings) -> None:
    client = create_app(make_settings(environment="production")).test_client(use_cookies=False)  # Secure cookies are dropped
    answer = Browser(client).sign_in("owner@yout.example", headers={"Origin": "http://localhost"})
    assert answer.status_code == 400
    assert "requires HTTPS" in answer.text
    assert "localhost" in answer.text


@pytest.mark.parametrize("any_database_url", ["postgresql"], indirect=True)
def test_unstorable_text_is_rejected_with_the_field_name(signed_in) -> None:
    owner = signed_in("owner")
    for path in PAGES:
        for name in ("q", "account", "model", "before"):
            answer = owner.get(path, query_string={name: "a\0b"})
            assert (answer.status_code, f"{name}&#39; contains a NUL" in answer.text) == (400, True), path
    for page, action in (("/staff/", "/staff/"), ("/codes/", "/codes/"), ("/me/", "/me/password")):
        answer = owner.post(action, {**owner.form(page, action), "email": "a\0@example.com", "note": "\0", "new": "\0"})
        assert (answer.status_code, "contains a NUL" in answer.text) == (400, True), action
    assert owner.get("/models/id/a%00b").status_code == 404


@pytest.mark.parametrize("coding", ["gzip", "br", "Identity, GZIP", "unknown"])
def test_a_compressed_form_is_refused_with_the_reason(signed_in, coding) -> None:
    person = signed_in("owner")
    answer = person.post("/logout", person.form("/", "/logout"), headers={"Content-Encoding": coding})
    assert (answer.status_code, "without Content-Encoding" in answer.text) == (415, True)
    assert StaffSession.get().revoked_at is None
    assert person.get("/", headers={"Content-Encoding": coding}).status_code == 200
    assert person.post("/logout", person.form("/", "/logout"), headers={"Content-Encoding": "identity"}).status_code == 303


@pytest.mark.parametrize("any_database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("host", ["a..b", f"{'a' * 64}.example:8001"])
def test_an_invalid_host_header_is_rejected(browser, host) -> None:
    for path in ("/", "/login", "/nothing"):
        answer = browser.get(path, headers={"Host": host})
        assert (answer.status_code, answer.text) == (400, "Invalid Host header.\n")


def test_a_sign_in_with_unstorable_text_is_rejected(browser) -> None:
    assert browser.sign_in("a\0@example.com").status_code == 400


def test_failed_guesses_do_not_lock_out_a_known_browser(staff, app) -> None:
    person = staff("owner")
    stranger, owner = (Browser(app.test_client()) for _ in range(2))
    far, near = ({"environ_base": {"REMOTE_ADDR": address}} for address in ("203.0.113.9", "198.51.100.7"))
    for _ in range(MAX_FAILURES_PER_PERSON):
        assert stranger.sign_in(person.email, "wrong horse battery", **far).status_code == 403
    assert stranger.sign_in(person.email, **far).status_code == 429
    assert owner.sign_in(person.email, **near).status_code == 303
    owner.submit_form("/", "/logout")
    assert owner.sign_in(person.email, **far).status_code == 303, "a known browser can still sign in"


def test_excess_concurrent_sign_ins_are_rejected_immediately(staff, app, browser) -> None:
    person = staff("owner")
    hashes = app.extensions["yout_proofs"].hashes
    with ExitStack() as held:
        for number in range(MAX_WAITING):
            held.enter_context(hashes.slot(f"network {number}"))
        answer = browser.sign_in(person.email)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        assert "Try again in a few seconds" in answer.text
    assert browser.sign_in(person.email).status_code == 303


def test_a_known_browser_has_reserved_capacity(staff, app, browser) -> None:
    person = staff("owner")
    browser.sign_in(person.email)
    browser.submit_form("/", "/logout")
    hashes = app.extensions["yout_proofs"].hashes
    with ExitStack() as held:
        for number in range(MAX_WAITING):
            held.enter_context(hashes.slot(f"network {number}"))
        assert browser.sign_in(person.email).status_code == 303


@pytest.mark.parametrize("any_database_url", ["sqlite"], indirect=True)
def test_a_body_without_content_length_is_limited_too(bound_database, any_database_url, start_console) -> None:
    console = start_console(database_url=any_database_url)
    headers = {"content-type": "application/x-www-form-urlencoded"}
    for pieces, status in ((1, 400), (MAX_FORM_BYTES // 10_000 + 1, 413)):
        body = (b"email=" + b"x" * 10_000 for _ in range(pieces))
        with closing(http.client.HTTPConnection("127.0.0.1", console.port, timeout=WAIT_SECONDS * 2)) as connection:
            connection.request("POST", "/login", body, headers, encode_chunked=True)
            assert connection.getresponse().status == status
