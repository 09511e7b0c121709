"""The language of pages: from the browser, or from the switch, with and without JavaScript."""

from __future__ import annotations

import pytest
from playwright.async_api import Route, expect

from shared.models import Account
from tests.conftest import OpenPage
from tests.edge.web.conftest import Browser, Site
from tests.servers.browser import PHONE

pytestmark = pytest.mark.parametrize("running_site", ["sqlite"], indirect=True)


@pytest.mark.parametrize(
    ("accepted", "cookie", "language"),
    [
        ("", "", "en"),
        ("de", "", "de"),
        ("de-AT,de;q=0.9,en;q=0.5", "", "de"),
        ("fr,en;q=0.5,de;q=0.8", "", "de"),
        ("fr", "", "en"),
        ("de", "en", "en"),
        ("en", "de", "de"),
        ("de", "xx", "de"),
    ],
)
def test_the_language_comes_from_the_cookie_or_the_browser(browser: Browser, accepted: str, cookie: str, language: str) -> None:
    browser.cookies |= {"yout_language": cookie} if cookie else {}
    page = browser.get("/sign-in", headers={"accept-language": accepted})
    text = page.body.decode()
    assert f'<html lang="{language}"' in text
    assert ("Anmelden" in text) == (language == "de")
    assert {"Accept-Language", "Cookie"} <= {name.strip() for name in page.headers["vary"].split(",")}


def test_the_api_is_in_english(browser: Browser) -> None:
    asked = {"accept": "application/json", "accept-language": "de", "authorization": "Bearer yout-x"}
    assert browser.get("/v1/models", headers=asked).json["error"]["message"].startswith("Incorrect API key")


def test_the_switch_and_the_sign_up_set_the_language_of_emails(site: Site) -> None:
    member, german, form = site.member(), site.browser(), {"content-type": "application/x-www-form-urlencoded"}
    assert member.account is not None
    member.request("POST", "/language", b"language=de", form)
    assert Account.get_by_id(member.account.id).language == "de"
    german.cookies["yout_language"] = "de"
    assert site.account(german.sign_up()).language == "de"
    german.cookies["yout_session"] = "unknown"
    assert german.request("POST", "/language", b"language=en", form).status == 303


def test_the_switch_leads_only_to_pages_of_this_site(browser: Browser) -> None:
    headers = {"referer": "https://evil.example/x", "content-type": "application/x-www-form-urlencoded"}
    for body in (b"language=de&next=//evil.example/", b"language=de", b"language=xx"):
        reply = browser.request("POST", "/language", body, headers)
        assert (reply.status, reply.headers["location"]) == (303, "/")
    assert browser.cookies["yout_language"] == "de"


async def test_a_reader_switches_to_german(site: Site, open_page: OpenPage) -> None:
    edge = site.edge().url
    member = site.member()
    page = await open_page(viewport=PHONE)
    await member.copy_session_to(page)
    await page.goto(f"{edge}/account/keys?x=1")
    await page.click("text=Deutsch")
    await page.wait_for_url(f"{edge}/account/keys?x=1")
    await expect(page.locator("html")).to_have_attribute("lang", "de")
    await expect(page.locator("h1")).to_have_text("API-Schlüssel")
    await page.fill("[name=name]", "Produktion")
    await page.click("main button.primary")
    await expect(page.locator("main")).to_contain_text("Kopieren Sie ihn jetzt.")
    await expect(page.locator("button.copy").first).to_have_attribute("aria-label", "den Schlüssel kopieren")  # from a script
    await page.goto(f"{edge}/account/sessions")
    await page.fill("[name=current]", "wrong")
    await page.fill("[name=password]", "correct horse battery staple")
    await page.click("main button.primary")
    await expect(page.locator(".wrong").first).to_have_text("Falsches Passwort.")
    await page.goto(f"{edge}/nowhere")
    await expect(page.locator("h1")).to_have_text("Seite nicht gefunden")
    await page.click("text=English")
    await page.wait_for_url(f"{edge}/nowhere")
    await expect(page.locator("h1")).to_have_text("Page not found")
    page.problems.clear()  # type: ignore[attr-defined]  # the statuses 404 and 422 are reported on the console


async def test_errors_of_the_api_are_in_the_language_of_the_page(site: Site, open_page: OpenPage) -> None:
    edge = site.edge().url
    page = await open_page(locale="de-DE")
    await site.member().copy_session_to(page)
    refusals = iter(
        [
            (402, {"code": "insufficient_credits"}, {"required": 1_200, "balance": 7, "cheaper_models": []}),
            (502, {"code": "upstream_error"}, {}),
            (400, {"code": "invalid_request"}, {}),
        ]
    )

    async def refuse(route: Route) -> None:
        status, error, details = next(refusals)
        body = {"error": {"message": "English.", "type": "some_error", "param": None, **error}, "yout": details}
        await route.fulfill(status=status, json=body)

    await page.route("**/api/chat/stream/", refuse)
    await page.route("**/v1/chat/completions", refuse)
    await page.goto(edge)
    await page.wait_for_selector("#chat[data-ready]")
    await page.fill("#prompt", "Hallo")
    await page.press("#prompt", "Enter")
    needed = "Dieser Aufruf benötigt mindestens 1\u202f200 Credits. Ihr Guthaben beträgt 7 Credits."
    await expect(page.locator(".failure p").first).to_have_text(needed)
    await page.goto(f"{edge}/playground")
    for text in ("Das Modell hat nicht geantwortet.", "Die Anfrage wurde abgelehnt. Meldung des Servers: English."):
        await page.fill("#messages textarea", "Hallo")
        await page.click("#run")
        await expect(page.locator("#failure")).to_contain_text(text)
    page.problems.clear()  # type: ignore[attr-defined]  # the statuses are reported on the console


async def test_the_switch_works_without_javascript(site: Site, open_page: OpenPage) -> None:
    page = await open_page(javascript=False, locale="de-DE")
    await page.goto(f"{site.edge().url}/sign-in")
    assert await page.text_content("h1") == "Anmelden"
    await page.click("text=English")
    assert await page.text_content("h1") == "Sign in"
