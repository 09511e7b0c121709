"""The chat at `/` in a real browser: each test walks through several features."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest
from playwright.async_api import Locator, Page, Route, expect

from shared.models import Account, UsageLedger
from shared.operations.accounts import adjust_credits
from tests.conftest import OpenPage
from tests.edge.test_privacy import CANARY, database_dump, redis_dump
from tests.edge.web.conftest import Browser, Site
from tests.factories import ORIGIN
from tests.openai_payloads import DONE, chunk, finish, role, usage
from tests.page_checks import check_page
from tests.servers.browser import PHONE
from tests.upstream_responses import WAIT_SECONDS, Gate, error_response, stream

pytestmark = pytest.mark.parametrize("running_site", ["sqlite"], indirect=True)
VISITORS = {"visitor_pool_credits": 500_000, "visitor_daily_credits": 5_000}


def answer(*parts: Any) -> Any:
    """A complete streamed answer. A gate between the parts holds back the rest."""
    return stream(role(), *(chunk(part) if isinstance(part, str) else part for part in parts), finish(), usage(7, 3), DONE)


async def open_chat(open_page: OpenPage, site: Site, member: Browser | None = None, address: str = "/", **look: Any) -> Page:
    page = await open_page(**look)
    if member is not None:
        await member.copy_session_to(page)
    else:  # another address is another visitor, with an allowance of its own
        await page.context.set_extra_http_headers({"x-forwarded-for": site.browser().address})
    edge = site.edge() if member is not None else site.edge(**VISITORS)
    await page.goto(edge.url + address)
    await expect(page.locator("#chat[data-ready]")).to_be_visible()
    return page


async def send(page: Page, text: str) -> None:
    await page.fill("#prompt", text)
    await page.press("#prompt", "Enter")


async def choose_model(page: Page, model: str) -> None:
    await page.click("#model")
    await page.fill("#picker-search", model)
    await page.press("#picker-search", "Enter")
    await expect(page.locator("#model")).to_have_text(model)


def last_answer(page: Page) -> Locator:
    return page.locator(".answer").last


def expect_problems(page: Page, *words: str) -> None:
    """Check that the console's errors are failed requests with these words, in order."""
    problems: list[str] = page.problems  # type: ignore[attr-defined]
    assert [problem for problem in problems if "Failed to load" not in problem] == []
    assert len(problems) == len(words), problems
    for problem, word in zip(problems, words, strict=True):
        assert word in problem
    problems.clear()


async def test_a_member_chats_stops_retries_edits_and_walks_the_branches(site: Site, open_page: OpenPage, axe: str) -> None:
    member = site.member()
    page = await open_chat(open_page, site, member)
    await expect(page.locator("#balance")).to_have_text("Balance: 500\u202f000 credits")
    await choose_model(page, "m-1")

    site.upstream.script(answer(chunk(reasoning="Hm, a greeting."), "Hello **you**."))
    await send(page, "Hi *there*")
    await expect(last_answer(page).locator(".said strong")).to_have_text("you")
    await expect(last_answer(page).locator(".cost")).to_have_text("13 credits")
    await expect(page.locator("#balance")).to_have_text("Balance: 499\u202f987 credits")
    await expect(page.locator("#total")).to_have_text("This conversation: 13 credits")
    assert await page.inner_text(".bubble") == "Hi *there*"
    assert await page.locator(".reasoning-text").is_hidden()
    await page.click(".reasoning summary")
    await expect(page.locator(".reasoning-text")).to_have_text("Hm, a greeting.")
    await last_answer(page).get_by_role("button", name="Copy").click()
    assert await page.evaluate("navigator.clipboard.readText()") == "Hello **you**."
    await expect(page.locator("#prompt")).to_have_value("")

    # Stop: the charge is shown, and the balance is updated without a reload.
    gate = Gate()
    site.upstream.script(answer("Half an ", gate, "answer"))
    await send(page, "A long story")
    await expect(last_answer(page).locator(".said")).to_have_text("Half an")
    await page.click("#stop")
    await expect(last_answer(page).locator(".note")).to_have_text(re.compile(r"Stopped\. \d+ credits charged\."))
    receipt = await last_answer(page).locator(".cost").get_attribute("href")
    assert receipt is not None
    assert (await page.request.get(site.edge().url + receipt)).ok
    gate.open()
    row = UsageLedger.select().where((UsageLedger.account == member.account) & (UsageLedger.status == "cancelled")).get()
    await expect(last_answer(page).locator(".note")).to_have_text(f"Stopped. {row.credits} credits charged.")
    account = Account.get_by_id(member.account)
    await expect(page.locator("#balance")).to_have_text(f"Balance: {account.balance:,} credits".replace(",", "\u202f"))
    await expect(page.locator("#total")).to_have_text(f"This conversation: {13 + row.credits} credits")

    # Retry, and retry with another model: both become versions.
    site.upstream.script(answer("Second version."), answer("Third version."))
    await last_answer(page).get_by_role("button", name="Retry", exact=True).click()
    await expect(last_answer(page).locator(".said")).to_have_text("Second version.")
    await expect(last_answer(page).locator(".walker-position")).to_have_text("2/2")
    await last_answer(page).get_by_role("button", name="Retry with another model").click()
    await page.fill("#picker-search", "free")
    await page.press("#picker-search", "Enter")
    await expect(last_answer(page).locator(".said")).to_have_text("Third version.")
    await expect(last_answer(page).locator(".message-model")).to_have_text("free")
    await expect(page.locator("#model")).to_have_text("free")
    await last_answer(page).get_by_role("button", name="Previous version").click()
    await expect(last_answer(page).locator(".said")).to_have_text("Second version.")
    await page.keyboard.press("Enter")  # the focus stays on the button
    await expect(last_answer(page).locator(".said")).to_have_text("Half an")

    # Edit and resend: the old branch stays.
    site.upstream.script(answer("A short one."))
    await page.locator(".mine").last.get_by_role("button", name="Edit").click()
    await page.fill(".edit-text", "A short story")
    await page.click("text=Send again")
    await expect(last_answer(page).locator(".said")).to_have_text("A short one.")
    assert site.upstream.calls[-1].json["messages"][-1] == {"role": "user", "content": "A short story"}
    assert site.upstream.calls[-1].json["messages"][0] == {"role": "user", "content": "Hi *there*"}
    await expect(page.locator(".mine").last.locator(".walker-position")).to_have_text("2/2")
    await check_page(page, axe, "chat")

    # The conversation, its branch and its model survive a reload.
    address = page.url
    await page.reload()
    await expect(last_answer(page).locator(".said")).to_have_text("A short one.")
    await expect(page.locator("#model")).to_have_text("free")
    await page.click("#new-chat")
    await expect(page.locator("#welcome")).to_be_visible()
    await choose_model(page, "m-1")
    await page.go_back()
    assert page.url == address
    await expect(page.locator("#model")).to_have_text("free")
    await page.locator(".mine").last.get_by_role("button", name="Previous version").click()
    await expect(last_answer(page).locator(".said")).to_have_text("Third version.")


async def test_errors_offer_next_steps(site: Site, open_page: OpenPage, axe: str) -> None:
    member = site.member()
    page = await open_chat(open_page, site, member, viewport=PHONE)
    await choose_model(page, "m-1")
    site.upstream.script(*[error_response(500)] * 3)
    await send(page, "Does it work?")
    failure = page.locator(".failure")
    await expect(failure).to_be_visible()
    request_id = await failure.locator("code").inner_text()
    assert request_id.startswith("req_")
    await failure.get_by_role("button", name="Copy the request ID").click()
    assert await page.evaluate("navigator.clipboard.readText()") == request_id
    await expect(failure.get_by_role("button", name="Try another model")).to_be_visible()
    await check_page(page, axe, "chat-failure")
    expect_problems(page, "502")
    site.upstream.script(answer("Now it does."))
    await failure.get_by_role("button", name="Try again").click()
    await expect(last_answer(page).locator(".said")).to_have_text("Now it does.")
    assert await page.locator(".walker").count() == 0  # a failure is no version

    # Not enough credits: cheaper models are buttons.
    assert member.account is not None
    balance = Account.get_by_id(member.account).balance
    adjust_credits(member.account.id, 10_000 - balance, "spent", origin=ORIGIN)
    await send(page, "A long question. " * 2_800)
    await expect(page.locator(".failure")).to_contain_text("credits")
    await expect(page.locator(".failure")).to_be_in_viewport()
    expect_problems(page, "402")
    cheaper = page.locator(".failure").get_by_role("button", name="Use free, at most")
    site.upstream.script(answer("A cheap answer."))
    await cheaper.click()
    await expect(last_answer(page).locator(".said")).to_have_text("A cheap answer.")
    await expect(page.locator("#model")).to_have_text("free")

    # Offline: the message stays, and can be sent again.
    adjust_credits(member.account.id, 100_000, "back", origin=ORIGIN)
    await page.context.set_offline(True)
    await send(page, "Are you there?")
    await expect(page.locator(".failure").last).to_contain_text("You are offline.")
    await expect(page.locator(".failure").last).to_be_in_viewport()
    await page.fill("#prompt", "And a draft")
    await page.context.set_offline(False)
    expect_problems(page, "ERR_INTERNET_DISCONNECTED")
    site.upstream.script(answer("Here I am."))
    await page.locator(".resend").last.click()
    await expect(last_answer(page).locator(".said")).to_have_text("Here I am.")
    await expect(page.locator("#prompt")).to_have_value("And a draft")

    # The session ends in another tab: the page says so, and keeps the draft.
    await page.request.get(site.edge().url + "/")
    await page.context.clear_cookies()
    await send(page, "Still signed in?")
    await expect(page.locator("#notice")).to_contain_text("You are signed out.")
    await expect(page.locator("#balance")).to_have_text("")
    link = page.locator("#notice").get_by_role("link", name="Sign in")
    await expect(link).to_have_attribute("href", re.compile(r"/sign-in\?next=%2F%23[0-9a-f-]{36}"))
    assert "send an API key" not in await page.locator("#notice").inner_text()
    expect_problems(page, "401")
    site.upstream.script(answer("Signed in again."))
    await member.copy_session_to(page)
    await page.reload()
    await page.locator(".failure").last.get_by_role("button", name="Try again").click()
    await expect(last_answer(page).locator(".said")).to_have_text("Signed in again.")


async def test_a_visitor_chats_on_a_phone_by_keyboard(site: Site, open_page: OpenPage, axe: str) -> None:
    page = await open_chat(open_page, site, viewport=PHONE, scheme="dark")
    await expect(page.locator("#model")).to_have_text("free")
    await expect(page.locator("#balance")).to_have_text("Remaining today: 5\u202f000 credits")
    await page.focus(".skip")
    await page.keyboard.press("Enter")
    await expect(page.locator("#prompt")).to_be_focused()
    await page.focus("#model")
    await page.keyboard.press("Enter")
    await expect(page.locator("#picker-search")).to_be_focused()
    await check_page(page, axe, "chat-picker")
    await page.keyboard.press("Escape")
    await expect(page.locator("#model")).to_be_focused()
    await page.fill("#prompt", "A long question. " * 1_600)
    await expect(page.locator("#quote")).to_have_text("Costs more than today's allowance")
    gate = Gate()
    site.upstream.script(answer("Half of it", gate))
    await page.fill("#prompt", "Hi")
    await expect(page.locator("#quote")).to_have_text(re.compile("About .* credits, at most .* credits"))
    await page.focus("#send")
    await page.keyboard.press("Enter")
    await expect(last_answer(page).locator(".said")).to_have_text("Half of it")
    await page.focus("#stop")
    await page.keyboard.press("Enter")
    await expect(last_answer(page).locator(".note")).to_have_text(re.compile(r"Stopped\. \d+ credits charged\."))
    gate.open()
    await expect(page.locator("#balance")).to_have_text(re.compile("Remaining today: 4.9"))
    await check_page(page, axe, "chat-visitor-stopped")


async def test_two_models_answer_side_by_side_and_the_cost_is_known_before(site: Site, open_page: OpenPage, axe: str) -> None:
    member = site.member()
    page = await open_chat(open_page, site, member)
    await choose_model(page, "m-1")
    await page.click("#settings")
    await page.fill("#setting-system", "Be brief.")
    await page.fill("#setting-temperature", "0.5")
    await page.fill("#setting-threshold", "100")
    await check_page(page, axe, "chat-settings")
    await page.click("text=Save settings")
    await expect(page.locator("#settings")).to_be_focused()

    await page.click("text=Compare")
    await page.fill("#picker-search", "free")
    await page.press("#picker-search", "Enter")
    await expect(page.locator("#second-model")).to_be_focused()
    quotes: list[str] = []
    page.on("request", lambda sent: quotes.append(sent.post_data or "") if "/api/quote/" in sent.url else None)
    await page.fill("#prompt", "Which is nearer?")
    await expect(page.locator("#quote")).to_have_text(re.compile(r"About [\d\u202f]+ credits, at most [\d\u202f]+ credits"))
    assert len(quotes) == 2
    assert not any("nearer" in body for body in quotes)  # a draft is not sent

    site.upstream.script(answer("The moon."), answer("The moon."))
    await page.press("#prompt", "Enter")
    both = page.locator(".side-by-side .answer")
    await expect(both.locator(".said")).to_have_text(["The moon.", "The moon."])
    await expect(both.locator(".message-model")).to_have_text(["m-1", "free"])
    await expect(page.locator("#total")).to_have_text("This conversation: 26 credits")
    for call in site.upstream.calls[-2:]:
        assert call.json["messages"][0] == {"role": "system", "content": "Be brief."}
        assert call.json["temperature"] == 0.5
    await both.nth(1).get_by_role("button", name="Continue with this answer").click()
    await page.get_by_role("button", name="Stop comparing").click()
    site.upstream.script(answer("384 400 km."))
    await send(page, "How far?")
    await expect(last_answer(page).locator(".said")).to_have_text("384 400 km.")
    await expect(page.locator(".side-by-side .tag")).to_have_text("Continued")
    await page.reload()
    await expect(page.locator(".side-by-side .answer")).to_have_count(2)
    await check_page(page, axe, "chat-side-by-side")


async def test_scroll_position_and_drafts_are_kept(site: Site, open_page: OpenPage) -> None:
    member = site.member()
    page = await open_chat(open_page, site, member)
    await choose_model(page, "m-1")
    gates = [Gate(), Gate()]
    lines = "\n\n".join(f"Line {number} of a long answer." for number in range(60))
    site.upstream.script(answer(lines, gates[0], f"\n\n{lines}", gates[1], "\n\nThe end."))
    await send(page, "A long answer, please")
    top = "document.getElementById('log').scrollTop"
    left = "(() => { const log = document.getElementById('log'); return log.scrollHeight - log.scrollTop - log.clientHeight; })()"
    await expect(last_answer(page).locator("p", has_text="Line 59")).to_be_in_viewport()  # follows
    await page.hover("#log")
    await page.mouse.wheel(0, -400)
    await expect(page.locator("#latest")).to_be_visible()
    before = await page.evaluate(top)
    gates[0].open()
    await expect(last_answer(page).locator("p", has_text="Line 59")).to_have_count(2)
    assert await page.evaluate(top) == before
    assert await page.evaluate("document.scrollingElement.scrollTop") == 0
    await page.click("#latest")
    assert await page.evaluate(left) < 2
    gates[1].open()
    await expect(last_answer(page).locator("p", has_text="The end.")).to_be_in_viewport()

    # A sent message is scrolled into view.
    await page.hover("#log")
    await page.mouse.wheel(0, -2_000)
    await expect(page.locator("#latest")).to_be_visible()
    site.upstream.script(answer("Short."))
    await send(page, "And a short one")
    await expect(page.locator(".bubble").last).to_be_in_viewport()
    await expect(last_answer(page).locator(".said")).to_have_text("Short.")

    # The page is closed during an answer, and with a draft.
    gate = Gate()
    site.upstream.script(answer("Half of ", gate, "it"))
    await send(page, "One more")
    await expect(last_answer(page).locator(".said")).to_have_text("Half of")
    await page.fill("#prompt", "A draft")
    address, context = page.url, page.context
    await page.close(run_before_unload=False)
    again = await context.new_page()
    await again.goto(address)
    await expect(again.locator(".failure")).to_contain_text("The page was closed before the answer was complete.")
    await expect(last_answer(again).locator(".said")).to_have_text("Half of")
    await expect(last_answer(again).locator(".cost")).to_have_text(re.compile(r"\d\d credits"))
    await expect(again.locator("#prompt")).to_have_value("A draft")
    gate.open()

    # Another tab shows the same conversation, and what is new in it.
    other = await context.new_page()
    await other.goto(address)
    await expect(other.locator(".mine")).to_have_count(3)
    site.upstream.script(answer("In both tabs."))
    await send(again, "Hello")
    await expect(last_answer(other).locator(".said")).to_have_text("In both tabs.")
    await other.close()
    await again.close()


async def test_the_message_field_works_before_the_rest_has_loaded(site: Site, open_page: OpenPage) -> None:
    member = site.member()
    page = await open_page()
    await member.copy_session_to(page)
    rest = "**/chat/app.js"
    await page.route(rest, lambda route: route.abort())
    await page.goto(site.edge().url)
    await expect(page.locator("#prompt")).to_be_focused()
    await page.keyboard.type("Typed early")
    await expect(page.locator("#incomplete")).to_contain_text("The page did not load completely.")
    page.problems.clear()  # type: ignore[attr-defined]
    await page.unroute(rest)
    loading: asyncio.Queue[Route] = asyncio.Queue()
    await page.route(rest, loading.put)
    await page.click("#incomplete a")
    route = await asyncio.wait_for(loading.get(), WAIT_SECONDS)
    await expect(page.locator("#prompt")).to_have_value("Typed early")
    site.upstream.script(answer("Answered once."))
    calls = len(site.upstream.calls)
    for _ in range(2):
        await page.press("#prompt", "Enter")
    await expect(page.locator("#prompt")).to_have_value("Typed early")
    await route.continue_()
    await expect(last_answer(page).locator(".said")).to_have_text("Answered once.")
    await expect(page.locator(".bubble")).to_have_text(["Typed early"])
    await expect(page.locator("#prompt")).to_have_value("")
    assert len(site.upstream.calls) == calls + 1


async def test_a_canary_stays_in_the_browser_and_requests_go_only_to_our_origin(site: Site, open_page: OpenPage) -> None:
    member = site.member()
    page = await open_page()
    addresses: list[str] = []
    page.on("request", lambda sent: addresses.append(sent.url))
    page.on("websocket", lambda socket: addresses.append(socket.url))
    await member.copy_session_to(page)
    await page.goto(site.edge().url)
    await expect(page.locator("#chat[data-ready]")).to_be_visible()
    await choose_model(page, "m-1")
    site.upstream.script(answer(f"The answer repeats {CANARY}."))
    await send(page, f"Remember {CANARY}")
    await expect(last_answer(page).locator(".cost")).to_have_text("13 credits")
    await page.fill("#prompt", f"A draft with {CANARY}")
    await page.reload()
    await expect(page.locator("#prompt")).to_have_value(f"A draft with {CANARY}")
    await expect(last_answer(page).locator(".said")).to_contain_text(CANARY)
    assert CANARY in json.dumps(site.upstream.calls[-1].json)
    assert CANARY not in database_dump(site.ledger_database.database)
    assert CANARY not in redis_dump(site.settings["redis_url"])
    assert all(address.startswith((f"{site.edge().url}/", "data:")) for address in addresses), addresses
    assert not any(CANARY in address for address in addresses)


async def test_without_javascript_the_page_says_what_is_needed(site: Site, open_page: OpenPage, axe: str) -> None:
    page = await open_page(javascript=False)
    await page.goto(site.edge(**VISITORS).url)
    await expect(page.locator("noscript b")).to_be_visible()
    await expect(page.locator("noscript b")).to_have_text("The chat requires JavaScript")
    await expect(page.locator("noscript a").first).to_have_attribute("href", "/docs")
    await expect(page.locator("#prompt")).to_be_hidden()
