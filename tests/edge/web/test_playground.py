"""From the catalog to the playground in a browser: filters, code in tabs, a call with tools, its receipt, and its code."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from asyncio.subprocess import PIPE
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests import factories
from tests.conftest import OpenPage
from tests.edge.web.conftest import Browser, Site
from tests.openai_payloads import DONE, chunk, finish, role, usage
from tests.page_checks import check_page
from tests.upstream_responses import Gate, error_response, stream

pytestmark = pytest.mark.parametrize("running_site", ["sqlite"], indirect=True)
TOOLS = '[{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}}}]'
# The browser of the tests is in UTC.
IN_TOKYO = """Intl.DateTimeFormat = new Proxy(Intl.DateTimeFormat, {
  construct: (format, [language, options]) => new format(language, {...options, timeZone: "Asia/Tokyo"}),
});"""
CALL = [{"index": 0, "id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}]


async def test_from_the_catalog_to_a_call_in_the_playground(site: Site, open_page: OpenPage, axe: str) -> None:
    member = site.member()
    page = await open_page()
    await member.copy_session_to(page)
    await page.goto(f"{site.edge().url}/models")
    await page.fill("#q", "8 000 fre")
    await expect(page.locator(".empty b")).to_have_text("No models match")
    await page.fill("#q", "fre")
    await expect(page.locator(".model-list li")).to_have_count(1)
    await expect(page.locator(".chips a")).to_have_count(1)
    assert page.url.endswith("/models?q=fre")

    await page.click(".model-list a")
    await page.get_by_role("tab", name="Python").click()
    await expect(page.get_by_role("tabpanel")).to_contain_text("model='free'")
    await page.keyboard.press("ArrowRight")
    await expect(page.get_by_role("tabpanel")).to_contain_text('import OpenAI from "openai"')
    await page.click("text=Open in playground")
    await expect(page.locator("#model")).to_have_value("free")

    await page.fill("#system", 'Say "it\'s" €')
    await page.locator("#messages textarea").fill("Hello\nyou")
    await page.click("summary >> text=Tools")
    await page.fill("#tools", "[{")
    await page.click("#run")
    await expect(page.locator("#tools")).to_be_focused()
    await expect(page.locator("#tools-wrong")).to_contain_text("not valid JSON")
    await page.fill("#tools", TOOLS)
    await page.click("summary >> text=Structured output")
    await page.select_option("#format", "json_schema")

    site.upstream.script(stream(role(), chunk("Looking"), chunk(None, tool_calls=CALL), finish("tool_calls"), usage(7, 3), DONE))
    await page.click("#run")
    await expect(page.locator("#text")).to_have_text("Looking")
    await expect(page.locator("#tool-calls")).to_have_text("look_up({})")
    await expect(page.locator("#receipt")).to_contain_text("13 credits")
    await expect(page.locator("#receipt")).to_contain_text(re.compile("req_[0-9a-f]{32}"))
    await expect(page.locator("#raw")).to_contain_text("data: [DONE]")
    sent = site.upstream.calls[-1].json
    assert sent["messages"] == [{"role": "system", "content": 'Say "it\'s" €'}, {"role": "user", "content": "Hello\nyou"}]
    assert (sent["tools"][0]["function"]["name"], sent["response_format"]["type"]) == ("look_up", "json_schema")
    await check_page(page, axe, "playground-used")
    for language in ("curl", "Python"):
        assert same(sent, await run_snippet(page, language, member, site)), language

    gate = Gate()
    site.upstream.script(stream(role(), chunk("Half an "), gate, chunk("answer"), finish(), usage(7, 3), DONE))
    await page.click("#run")
    await expect(page.locator("#text")).to_have_text("Half an")
    await page.click("#stop")
    await expect(page.locator("#status")).to_contain_text("Stopped.")
    await expect(page.locator("#receipt-link")).to_have_attribute("href", re.compile("/calls/req_"))
    gate.open()

    site.upstream.script(*[error_response(500)] * 4)
    await page.click("#run")
    await expect(page.locator("#failure")).to_contain_text(re.compile("req_[0-9a-f]{32}"))
    page.problems.clear()  # type: ignore[attr-defined]  # a 502 is reported on the console
    await page.reload()
    await expect(page.locator("#tools")).to_have_value(TOOLS)


async def run_snippet(page: Page, language: str, member: Browser, site: Site) -> Any:
    """Run the page's code with a key; returns the body that the upstream received."""
    assert member.account is not None
    code = await page.locator(f'[data-snippet="{language}"]').text_content()
    assert code is not None
    program = ("sh", "-c", code) if language == "curl" else (sys.executable, "-c", code)
    environ = {"PATH": os.environ["PATH"], "YOUT_API_KEY": factories.api_key(member.account)[1]}
    running = await asyncio.create_subprocess_exec(*program, env=environ, stdout=PIPE, stderr=PIPE)
    output, errors = await asyncio.wait_for(running.communicate(), 60)
    assert (running.returncode, bool(output)) == (0, True), errors.decode()
    return site.upstream.calls[-1].json


def same(sent: Any, repeated: Any) -> bool:
    """Whether two calls had the same body, apart from the user's pseudonym."""
    return bool({**sent, "user": None} == {**repeated, "user": None})


async def test_times_are_in_the_readers_zone(site: Site, open_page: OpenPage) -> None:
    page = await open_page()
    await page.add_init_script(IN_TOKYO)
    await page.goto(f"{site.edge().url}/models/free")
    await expect(page.locator("time")).to_have_attribute("title", re.compile(r"GMT\+9"))
    await expect(page.locator("time")).to_contain_text("ago")
