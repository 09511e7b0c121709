"""Staff management and one's own account: who may add whom, the second factor at sign-in, listing and ending sessions."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from html import unescape

import pyotp
import pytest

from console.app import create_app
from console.paging import PAGE_SIZE
from shared.core.settings import Settings
from shared.identity.attempt_limits import MAX_FAILURES_PER_PERSON
from shared.models import AuditEntry, StaffPasskey, StaffRecoveryCode, StaffSession, StaffUser
from shared.operations.second_factor import STAFF, new_secret
from shared.operations.staff import create_staff
from tests.console.conftest import PASSWORD, Browser
from tests.factories import ORIGIN

NEW_PASSWORD = "one more correct horse"


@pytest.fixture
def with_app(app, staff) -> Callable[[str], tuple[Browser, pyotp.TOTP, list[str]]]:
    """`with_app("owner")`: a signed-out browser, plus the authenticator app and recovery codes of such a staff member."""

    def make(role: str) -> tuple[Browser, pyotp.TOTP, list[str]]:
        person, device = staff(role), pyotp.TOTP(new_secret())
        earlier = int(time.time()) - 30
        key = app.extensions["yout_settings"].secret_key
        codes = STAFF.enroll(person.id, device.secret, device.at(earlier), secret_key=key, origin=ORIGIN)
        return Browser(app.test_client()), device, codes

    return make


def send_code(browser: Browser, code: str, path: str = "/login/code"):
    return browser.post(path, {**browser.form("/login/code"), "code": code})


def test_the_password_alone_does_not_sign_in_with_a_second_factor(with_app) -> None:
    browser, device, _ = with_app("owner")
    answer = browser.sign_in("owner@yout.example", path="/login?next=/usage/")
    assert answer.location == "/login/code?next=/usage/"
    assert browser.get("/").location.startswith("/login")
    assert send_code(browser, "000000").status_code == 403
    assert not StaffSession.select().exists()
    assert send_code(browser, device.now(), "/login/code?next=/usage/").location == "/usage/"
    assert browser.get("/").status_code == 200


def test_a_recovery_code_works_once(with_app, app) -> None:
    browser, _, codes = with_app("owner")
    browser.sign_in("owner@yout.example")
    assert send_code(browser, codes[0]).status_code == 303
    assert "9 recovery codes left" in browser.get("/me/").text
    again = Browser(app.test_client())
    again.sign_in("owner@yout.example")
    assert send_code(again, codes[0]).status_code == 403


def test_second_factor_guesses_are_limited(with_app) -> None:
    browser, device, _ = with_app("owner")
    browser.sign_in("owner@yout.example")
    for _ in range(MAX_FAILURES_PER_PERSON):
        assert send_code(browser, "000000").status_code == 403
    answer = send_code(browser, device.now())
    assert (answer.status_code, "Too many attempts" in answer.text) == (429, True)


def test_the_second_step_requires_the_first(browser, with_app) -> None:
    with_app("owner")
    assert browser.get("/login/code").location == "/login"
    stranger, _, _ = with_app("billing")
    stranger.sign_in("billing@yout.example")
    StaffUser.update(status="disabled").where(StaffUser.email == "billing@yout.example").execute()
    assert stranger.get("/login/code").location == "/login"


def test_staff_set_up_a_second_factor_and_see_recovery_codes_once(signed_in) -> None:
    browser = signed_in("readonly")
    page = browser.get("/me/").text
    secret = re.search(r'<code class="secret">([A-Z2-7]+)</code>', page).group(1)
    assert "<svg" in page
    assert " style=" not in page
    wrong = browser.submit_form("/me/", "/me/second-factor", code="123", password=PASSWORD)
    assert (wrong.status_code, "code is incorrect" in wrong.text) == (422, True)
    code = pyotp.TOTP(secret).now()
    stranger = browser.submit_form("/me/", "/me/second-factor", code=code, password="wrong horse battery")
    assert (stranger.status_code, "Incorrect password" in stranger.text) == (422, True)
    shown = browser.submit_form("/me/", "/me/second-factor", code=code, password=PASSWORD)
    assert len(recovery_codes(shown.text)) == 10
    assert secret not in browser.get("/me/").text
    assert "Already shown" in browser.get(shown.request.path).text


def recovery_codes(page: str) -> list[str]:
    return re.findall(r"<li><code>([a-z2-9]{5}-[a-z2-9]{5})</code></li>", page)


# Every change of how a staff member signs in: the names of its fields for password and code, and the other fields.
CHANGES = {
    "/me/password": ("current", "code", {"new": NEW_PASSWORD, "again": NEW_PASSWORD}),
    "/me/second-factor/off": ("password", "code", {}),
    "/me/recovery-codes": ("password", "code", {}),
    "/me/passkeys": ("passkey-password", "passkey-code", {"passkey-credential": "{}"}),
    "/me/passkeys/<uuid:passkey_id>/remove": ("passkey-password", "passkey-code", {}),
}
# Setting up the second factor has its own test: the code is that of the new device.
OTHERS = {"/me/second-factor", "/me/sessions/<int:began_at>/end", "/me/sessions/end-others"}


def test_the_table_has_every_form_of_a_person(app) -> None:
    forms = {rule.rule for rule in app.url_map.iter_rules() if rule.rule.startswith("/me/") and "POST" in rule.methods}
    assert CHANGES.keys() | OTHERS == forms


@pytest.mark.parametrize("path", CHANGES)
def test_a_change_requires_the_password_and_a_code(with_app, path: str) -> None:
    browser, _, codes = with_app("owner")
    browser.sign_in("owner@yout.example")
    send_code(browser, codes[0])
    person = StaffUser.get()
    passkey = StaffPasskey.create(staff=person, credential="c", public_key=b"k", sign_count=0, name="x")
    action, (password, code, fields) = path.replace("<uuid:passkey_id>", str(passkey.id)), CHANGES[path]

    def send(**values: str) -> str:
        hidden = browser.form("/me/", "/me/recovery-codes")
        return browser.post(action, {**hidden, **fields, **values}, follow_redirects=True).text

    def state() -> tuple[object, ...]:
        row = StaffUser.get()
        unused = {row.digest for row in StaffRecoveryCode.select().where(StaffRecoveryCode.used_at.is_null())}
        return row.password_hash, row.sealed_totp, unused, StaffPasskey.select().count()

    before = state()
    for wrong in ({}, {code: codes[1]}, {password: PASSWORD}, {password: "wrong horse battery", code: codes[1]}):
        send(**wrong)
        assert state() == before, wrong
    assert "code is incorrect" in send(**{password: PASSWORD, code: "000000"})
    assert state() == before
    done = send(**{password: PASSWORD, code: codes[1]})
    assert state() != before, done
    assert "code is incorrect" not in done


@pytest.mark.parametrize(("action", "page"), [("/me/password", "/me/password"), ("/me/second-factor", "/me/second-factor")])
def test_password_guesses_in_an_open_session_are_limited(signed_in, app, action: str, page: str) -> None:
    browser = signed_in("owner")
    hidden = browser.form("/me/", page)
    fields = {"new": NEW_PASSWORD, "again": NEW_PASSWORD, "code": "123456"}
    for _ in range(MAX_FAILURES_PER_PERSON):
        wrong = browser.post(action, {**hidden, **fields, "current": "wrong horse battery", "password": "wrong horse battery"})
        assert "Incorrect password" in wrong.text
    right = browser.post(action, {**hidden, **fields, "current": PASSWORD, "password": PASSWORD})
    assert "Too many attempts" in right.text
    assert Browser(app.test_client()).sign_in("owner@yout.example").status_code == 303, "signing in has its own limit"


def test_staff_change_their_own_password(signed_in, app) -> None:
    browser = signed_in("support")
    elsewhere = Browser(app.test_client())
    elsewhere.sign_in("support@yout.example")
    refused = browser.submit_form("/me/", "/me/password", current=PASSWORD, new=NEW_PASSWORD, again="something else")
    assert (refused.status_code, "do not match" in refused.text) == (422, True)
    answer = browser.submit_form("/me/", "/me/password", current=PASSWORD, new=NEW_PASSWORD, again=NEW_PASSWORD)
    assert "Password changed." in answer.text
    assert elsewhere.get("/").location.startswith("/login")
    assert Browser(app.test_client()).sign_in("support@yout.example", NEW_PASSWORD).status_code == 303


def test_staff_see_and_end_only_their_own_sessions(signed_in, app) -> None:
    other = signed_in("billing")
    browser = signed_in("support")
    second = Browser(app.test_client())
    second.sign_in("support@yout.example", headers={"User-Agent": "Mozilla/5.0 (X11; Linux) Firefox/140.0"})
    page = browser.get("/me/").text
    assert "Firefox on Linux" in page
    assert page.count("this session") == page.count(">End</button>") == 1
    theirs = StaffSession.get(StaffSession.agent == "Firefox on Linux")
    token = browser.form("/me/", "/me/sessions/end-others")
    foreign = StaffSession.select().join(StaffUser).where(StaffUser.role == "billing").get()
    browser.post(f"/me/sessions/{foreign.created_at}/end", token)
    assert other.get("/").status_code == 200
    browser.post(f"/me/sessions/{theirs.created_at}/end", token)
    assert second.get("/").location.startswith("/login")
    assert browser.get("/me/").status_code == 200


def test_sessions_are_paginated(signed_in) -> None:
    owner = signed_in("owner")
    [mine] = StaffSession.select()
    for number in range(1, PAGE_SIZE + 1):
        StaffSession.create(
            digest=f"{number:064}",
            staff=mine.staff,
            created_at=mine.created_at - number,
            expires_at=mine.expires_at,
        )
    for address in ("/me/", f"/staff/{mine.staff_id}"):
        first = owner.get(address).text
        older = unescape(re.search(r'href="([^"]+)" rel="next"', first).group(1))
        second = owner.get(older).text
        oldest = f"/me/sessions/{mine.created_at - PAGE_SIZE}/end"
        assert [page.count("<tr><td") for page in (first, second)] == [PAGE_SIZE, 1]
        assert (oldest in second) == (address == "/me/")
    assert owner.get("/me/?before=x").status_code == 400
    owner.post(f"/me/sessions/{mine.created_at - PAGE_SIZE}/end", owner.form("/me/", "/me/sessions/end-others"))
    assert [row.digest for row in StaffSession.select().where(StaffSession.revoked_at.is_null(False))] == [f"{PAGE_SIZE:064}"]


def test_an_owner_adds_edits_and_disables_a_staff_member(signed_in, app) -> None:
    owner = signed_in("owner")
    page = owner.submit_form("/staff/", "/staff/", email="Ben@Yout.example", role="support")
    password = re.search(r'<code class="secret">([^<]+)</code>', page.text).group(1)
    ben = StaffUser.get(StaffUser.email == "ben@yout.example")
    visitor = Browser(app.test_client())
    assert visitor.sign_in("ben@yout.example", password).status_code == 303
    assert password not in owner.get(f"/staff/{ben.id}").text
    owner.submit_form(f"/staff/{ben.id}", f"/staff/{ben.id}/role", role="billing")
    assert "billing" in visitor.get("/me/").text
    owner.submit_form(f"/staff/{ben.id}", f"/staff/{ben.id}/disable")
    assert visitor.get("/").location.startswith("/login")
    trail = [entry.action for entry in AuditEntry.select().where(AuditEntry.target == str(ben.id)).order_by(AuditEntry.id)]
    assert trail == ["staff.create", "staff.sign_in", "staff.role", "staff.status"]
    assert "already exists" in owner.submit_form("/staff/", "/staff/", email="ben@yout.example", role="support").text


def test_the_last_owner_cannot_be_demoted_or_disabled(signed_in) -> None:
    owner = signed_in("owner")
    me = StaffUser.get()
    assert "only active owner" in owner.submit_form(f"/staff/{me.id}", f"/staff/{me.id}/role", role="support").text
    assert "only active owner" in owner.submit_form(f"/staff/{me.id}", f"/staff/{me.id}/disable").text


@pytest.mark.parametrize("any_database_url", ["sqlite"], indirect=True)
class TestRequiredSetup:
    """An initial password or a required second factor must be dealt with before any other page opens."""

    @pytest.fixture
    def production(self, bound_database, make_settings: Callable[..., Settings]):
        def make(**settings: object) -> Browser:
            app = create_app(make_settings(**settings))
            return Browser(app.test_client())

        return make

    def test_an_initial_password_must_be_changed_first(self, production) -> None:
        create_staff("ana@yout.example", "owner", PASSWORD, must_change_password=True, origin=ORIGIN)
        browser = production()
        browser.sign_in("ana@yout.example")
        for path in ("/", "/accounts/", "/staff/"):
            assert browser.get(path).location == "/me/"
        token = browser.form("/me/", "/logout")
        assert browser.post("/staff/", {**token, "email": "eve@yout.example", "role": "owner"}).location == "/me/"
        assert "Choose a new password before you continue" in browser.get("/me/").text
        browser.submit_form("/me/", "/me/password", current=PASSWORD, new=NEW_PASSWORD, again=NEW_PASSWORD)
        assert browser.get("/").status_code == 200

    def test_a_required_second_factor_must_be_set_up_first(self, production) -> None:
        create_staff("ana@yout.example", "owner", PASSWORD, origin=ORIGIN)
        browser = production(staff_second_factor=True)
        browser.sign_in("ana@yout.example")
        assert browser.get("/accounts/").location == "/me/"
        secret = re.search(r'<code class="secret">([A-Z2-7]+)</code>', browser.get("/me/").text).group(1)
        browser.submit_form("/me/", "/me/second-factor", code=pyotp.TOTP(secret).now(), password=PASSWORD)
        assert browser.get("/accounts/").status_code == 200
