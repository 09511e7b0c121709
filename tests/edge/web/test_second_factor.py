"""The second factor of customers: set up, asked for at each way to sign in, used once, and turned off."""

from __future__ import annotations

import re

import pyotp
import pytest
from playwright.async_api import expect

from shared.core.clock import now_ms
from shared.core.secrets import SECOND_FACTOR, unseal
from shared.identity.attempt_limits import MAX_FAILURES_PER_PERSON
from shared.models import AuditEntry, Person, PersonRecoveryCode, WebSession
from shared.operations.web_accounts import create_password_link
from tests.conftest import OpenPage
from tests.edge.web.conftest import COOKIE, PASSWORD, Browser, Site
from tests.factories import ORIGIN
from tests.page_checks import check_page
from tests.servers.browser import PHONE
from tests.servers.edge import SECRET_KEY

PAGE, CODE = "/account/security", "/sign-in/code"
pytestmark = pytest.mark.parametrize("running_site", ["sqlite"], indirect=True)


class Device:
    """An authenticator app whose clock can be ahead, because each code is valid once."""

    def __init__(self, secret: str) -> None:
        self._app, self._step = pyotp.TOTP(secret), -1

    def code(self) -> str:
        """A code that was not used before."""
        self._step += 1
        assert self._step <= 1, "the third code would be too far ahead"
        return self._app.at(now_ms() // 1000 + 30 * self._step)


def enroll(browser: Browser) -> tuple[Device, list[str]]:
    """Set up a second factor; returns the app, and the recovery codes."""
    page = browser.get(PAGE).body.decode()
    [secret] = re.findall(r'totp-key">([A-Z2-7]+)<', page)
    [offered] = re.findall(r'name="offered" value="([^"]+)"', page)
    device = Device(secret)
    fields = {"offered": offered, "password": PASSWORD}
    for wrong in ({"code": "000000"}, {"code": ""}, {"password": "wrong", "code": pyotp.TOTP(secret).now()}, {"offered": "x"}):
        refused = browser.submit_form("/account/second-factor", {**fields, "code": "1", **wrong}, page=PAGE)
        assert refused.status == 422
        assert secret in refused.body.decode() or "offered" in wrong
    done = browser.submit_form("/account/second-factor", {**fields, "code": device.code()}, page=PAGE)
    assert done.status == 200, done.body.decode()
    return device, re.findall(r"<li><code>([a-z0-9-]+)</code>", done.body.decode())


def enter_code(browser: Browser, email: str, code: str) -> int:
    asked = browser.sign_in(email)
    assert asked.headers["location"] == CODE
    assert COOKIE not in browser.cookies
    return browser.submit_form(CODE, {"code": code}).status


def test_a_second_factor_is_asked_for_and_used_once(site: Site) -> None:
    browser = site.browser()
    email = browser.sign_up()
    device, codes = enroll(browser)
    person = Person.get(Person.email == email)
    assert len(codes) == 10
    assert unseal(person.sealed_totp, SECRET_KEY, SECOND_FACTOR) not in person.sealed_totp
    assert not PersonRecoveryCode.select().where(PersonRecoveryCode.digest.in_(codes)).exists()

    other, code = site.browser(), device.code()
    assert other.get(CODE).headers["location"] == "/sign-in?done=sign-in-expired"
    assert enter_code(other, email, "000000") == 403
    assert enter_code(other, email, code) == 303
    assert other.get("/account").status == 200
    assert enter_code(site.browser(), email, code) == 403
    assert enter_code(site.browser(), email, codes[0].upper()) == 303
    assert enter_code(site.browser(), email, codes[0]) == 403
    assert b"9 recovery codes left" in browser.get(PAGE).body

    # a link sets the password, and asks for the code as well
    link = site.browser()
    path = f"/password/{create_password_link(email, SECRET_KEY, origin=ORIGIN).token}"
    assert link.submit_form(path, {"password": PASSWORD + "2"}).headers["location"] == CODE
    assert COOKIE not in link.cookies
    assert not WebSession.select().where((WebSession.account == person.id) & WebSession.revoked_at.is_null()).exists()
    assert link.submit_form(CODE, {"code": codes[1]}).status == 303

    fields = {"password": PASSWORD + "2", "code": codes[2]}
    for wrong in ({"password": "wrong"}, {"code": "000000"}, {"code": ""}):
        assert link.submit_form("/account/second-factor/off", fields | wrong, page=PAGE).status == 422
    newer = link.submit_form("/account/second-factor/recovery-codes", fields, page=PAGE).body.decode()
    fields["code"] = re.findall(r"<li><code>([a-z0-9-]+)</code>", newer)[0]
    assert link.submit_form("/account/second-factor/off", fields, page=PAGE).status == 303
    assert site.browser().sign_in(email, PASSWORD + "2").headers["location"] == "/account"
    assert not PersonRecoveryCode.select().where(PersonRecoveryCode.person == person.id).exists()
    actions = [entry.action for entry in AuditEntry.select().where(AuditEntry.target == str(person.id)).order_by(AuditEntry.id)]
    assert [action for action in actions if action.startswith("person.")] == [
        "person.second_factor",
        "person.recovery_codes",
        "person.second_factor",
    ]


def test_codes_are_throttled_and_the_first_step_expires(site: Site) -> None:
    browser = site.browser()
    email = browser.sign_up()
    device, codes = enroll(browser)
    other = site.browser()
    other.sign_in(email)
    pending = other.cookies["yout_code"]
    for _ in range(MAX_FAILURES_PER_PERSON):
        assert other.submit_form(CODE, {"code": "000000"}).status == 403
    blocked = other.submit_form(CODE, {"code": device.code()})
    assert (blocked.status, "retry-after" in blocked.headers) == (429, True)

    forged = site.browser()
    forged.cookies["yout_code"] = pending[:-4] + "AAAA"
    assert forged.get(CODE).status == 303
    fields = {"current": PASSWORD, "password": PASSWORD + "2", "code": codes[0]}
    assert browser.submit_form("/account/password", fields, page="/account/sessions").status == 303
    assert other.get(CODE).status == 303  # the password that it began with was changed


async def test_a_walk_in_a_browser_without_scripts(site: Site, open_page: OpenPage, axe: str) -> None:
    browser = site.browser()
    email = browser.sign_up()
    page = await open_page(viewport=PHONE, javascript=False)
    await browser.copy_session_to(page)
    url = f"http://127.0.0.1:{browser.port}"
    await page.goto(url + PAGE)
    secret = await page.inner_text(".totp-key")
    await page.fill("#enroll-password", PASSWORD)
    await page.fill("#code", pyotp.TOTP(secret).now())
    await page.click("text=Turn on second factor")
    await expect(page.locator(".codes li")).to_have_count(10)
    code = await page.locator(".codes li").first.inner_text()
    await page.click("text=Done")
    await expect(page.locator("main")).to_contain_text("10 recovery codes left")

    desk = await open_page()
    await desk.goto(url + "/sign-in?next=/account/usage")
    await desk.fill("#email", email)
    await desk.fill("#password", PASSWORD)
    await desk.click("main button")
    await check_page(desk, axe, "sign-in-code")
    await desk.fill("#code", code)
    await desk.click("main button")
    await expect(desk).to_have_url(f"{url}/account/usage")
    await desk.goto(url + PAGE)
    await check_page(desk, axe, "security-on")
