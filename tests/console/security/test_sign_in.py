"""Sign-in: who is admitted, throttling, redirects after sign-in, and how a session ends."""

from __future__ import annotations

import pytest

from console.app import create_app
from shared.core.clock import now_ms
from shared.identity.attempt_limits import MAX_FAILURES_PER_PERSON
from shared.identity.login_throttle import WINDOW_MS
from shared.models import AuditEntry, StaffSession, StaffUser
from shared.operations import staff_sessions
from shared.operations.staff import set_staff_password
from shared.operations.staff_sessions import IDLE_MS, MAX_LIFETIME_MS
from tests.console.conftest import PASSWORD, Browser
from tests.factories import ORIGIN


def test_the_right_password_signs_in_and_is_audited(browser, staff):
    person = staff("support")
    answer = browser.sign_in(" Support@Yout.example ", follow_redirects=True)
    assert answer.status_code == 200
    assert "The last 24 hours" in answer.text
    assert person.email in answer.text
    entry = AuditEntry.get(AuditEntry.action == "staff.sign_in")
    assert (entry.actor, entry.address) == (person.email, "127.0.0.1")
    assert StaffUser.get_by_id(person.id).last_sign_in_at is not None


@pytest.mark.parametrize(
    ("email", "password"), [("owner@yout.example", "wrong horse battery"), ("nobody@yout.example", PASSWORD)]
)
def test_a_wrong_password_and_an_unknown_email_get_the_same_response(browser, staff, email, password):
    staff("owner")
    answer = browser.sign_in(email, password)
    assert answer.status_code == 403
    assert "Incorrect email or password." in answer.text
    assert browser.get("/").status_code == 303


def test_a_disabled_staff_member_cannot_sign_in_and_loses_open_sessions(signed_in):
    browser = signed_in("owner")
    StaffUser.update(status="disabled").execute()
    assert browser.get("/").location.startswith("/login")
    assert browser.sign_in("owner@yout.example").status_code == 403


def test_empty_fields_are_named(browser):
    answer = browser.sign_in("", "")
    assert answer.status_code == 422
    assert "Enter your email." in answer.text
    assert "Enter your password." in answer.text


def test_too_many_failures_block_the_right_password_too(browser, staff):
    person = staff("owner")
    for _ in range(MAX_FAILURES_PER_PERSON):
        assert browser.sign_in(person.email, "wrong horse battery").status_code == 403
    answer = browser.sign_in(person.email)
    assert answer.status_code == 429
    assert 0 < int(answer.headers["Retry-After"]) <= WINDOW_MS // 1000
    assert "Try again in" in answer.text


def test_sign_in_redirects_to_the_requested_page(browser, staff):
    staff("owner")
    door = browser.get("/usage/?status=failed").location
    assert door.startswith("/login?next=")
    assert browser.sign_in("owner@yout.example", path=door).location == "/usage/?status=failed"


def test_a_new_password_ends_every_session(signed_in):
    browser = signed_in("owner")
    assert browser.get("/").status_code == 200
    set_staff_password("owner@yout.example", origin=ORIGIN)
    assert browser.get("/").location.startswith("/login")


def test_a_session_ends_twelve_hours_after_the_sign_in(signed_in, monkeypatch):
    browser = signed_in("owner")
    start = now_ms()
    for passed in range(0, MAX_LIFETIME_MS, IDLE_MS // 2):
        monkeypatch.setattr(staff_sessions, "now_ms", lambda passed=passed: start + passed)
        assert browser.get("/me/").status_code == 200
    monkeypatch.setattr(staff_sessions, "now_ms", lambda: start + MAX_LIFETIME_MS + 60_000)
    assert browser.get("/me/").location.startswith("/login")


def test_an_idle_session_ends_after_two_hours(signed_in, monkeypatch):
    browser = signed_in("owner")
    start = now_ms()
    monkeypatch.setattr(staff_sessions, "now_ms", lambda: start + IDLE_MS - 60_000)
    assert browser.get("/me/").status_code == 200  # counts as activity
    monkeypatch.setattr(staff_sessions, "now_ms", lambda: start + 2 * IDLE_MS - 90_000)
    assert browser.get("/me/").status_code == 200
    monkeypatch.setattr(staff_sessions, "now_ms", lambda: start + 3 * IDLE_MS)
    assert browser.get("/me/").location.startswith("/login")


def test_a_copied_cookie_is_useless_after_sign_out(app, signed_in):
    browser = signed_in("owner")
    stolen = browser._client.get_cookie("yout_console").value
    browser.submit_form("/", "/logout")
    thief = app.test_client()
    thief.set_cookie("yout_console", stolen)
    assert thief.get("/").location.startswith("/login")
    assert StaffSession.get().revoked_at is not None


def test_sign_out_requires_a_form_and_ends_the_session(signed_in):
    browser = signed_in("owner")
    assert browser.get("/logout").status_code == 405
    assert "You have signed out." in browser.submit_form("/", "/logout").text
    assert browser.get("/").location.startswith("/login")


@pytest.mark.parametrize("any_database_url", ["sqlite"], indirect=True)
def test_the_session_cookie_is_httponly_and_secure_in_production(bound_database, make_settings, browser, staff):
    staff("owner")
    cookies = browser.sign_in("owner@yout.example").headers.getlist("Set-Cookie")
    assert sorted(cookie.split("=")[0] for cookie in cookies) == ["yout_browser_console", "yout_console"]
    for cookie in cookies:
        assert "HttpOnly" in cookie
        assert "SameSite=Lax" in cookie
    production = Browser(create_app(make_settings(environment="production")).test_client())
    cookie = production.get("/login").headers["Set-Cookie"]
    assert cookie.startswith("__Host-yout_console=")
    assert "Secure" in cookie
