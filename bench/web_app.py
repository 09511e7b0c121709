"""Bytes, first paint and readiness of the web app's pages, in a Chromium with a slow CPU and a slow network.

    python -m bench.web_app [--cpu 4] [--megabits 1.6] [--latency 20] [--rounds 3] [--language en-US]

Starts an edge with a scripted provider, and opens each page without a cache. The chat at `/` has budgets:
bytes before the first message, time to the first paint, and time until it is ready (`#chat[data-ready]`: the message field has
focus and its draft, and Enter sends). The command exits with 1 if one is exceeded. Bytes are those on the wire, headers included.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from playwright.async_api import Browser, Page, Request, TimeoutError

from shared.core.database import bind_database
from shared.operations.web_accounts import create_session, sign_up
from tests import factories
from tests.databases import opened
from tests.openai_payloads import DONE, chunk, finish, role, usage
from tests.servers.browser import DESKTOP, chromium
from tests.servers.edge import environment_of, start_edge
from tests.servers.postgres import Postgres
from tests.servers.redis import RedisServer
from tests.upstream import Upstream
from tests.upstream_responses import stream

MAX_BYTES = 150_000
MAX_FIRST_PAINT_MS = 800
MAX_READY_MS = 1_000
READY_SECONDS = 20
MAX_TRIES = 4
MODELS = 40
ANSWER = "Some **Markdown**:\n\n```python\nprint(1)\n```\n\nThen $x^2$.\n"
COOKIE = "yout_session"
# Pages with a member's session, and the element that shows that the page is complete.
PAGES = ("/models", "/playground", "/docs", "/account", "/account/keys", "/account/usage", "/account/media", "/sign-in")
_OBSERVE = """
new MutationObserver((_, observer) => {
  if (!document.querySelector("#chat[data-ready]")) return;
  performance.mark("chat-ready");
  console.info("chat-ready"); // waiting for a selector would run scripts in the page while it starts
  observer.disconnect();
}).observe(document, { subtree: true, childList: true, attributes: true, attributeFilter: ["data-ready"] });
"""
_PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? NaN"


class Limits(NamedTuple):
    """What the browser is slowed down to. `latency` is in milliseconds for each request."""

    cpu: float
    megabits: float
    latency: float
    language: str


class Load(NamedTuple):
    """One load of a page: bytes on the wire, requests, milliseconds to the first paint, and until the chat is ready."""

    bytes: int
    requests: int
    paint: float
    ready: float


class Visit:
    """One page in a new browser context, whose bytes are counted."""

    def __init__(self, page: Page, devtools: Any) -> None:
        self.page = page
        self.bytes = 0
        self.urls: list[str] = []
        devtools.on("Network.loadingFinished", self._count)
        page.on("request", self._remember)

    def _count(self, event: dict[str, Any]) -> None:
        self.bytes += int(event["encodedDataLength"])

    def _remember(self, request: Request) -> None:
        self.urls.append(request.url)


async def open_visit(browser: Browser, url: str, session: str, limits: Limits) -> Visit:
    context = await browser.new_context(viewport=DESKTOP, locale=limits.language)
    if session:
        await context.add_cookies([{"name": COOKIE, "value": session, "url": url}])
    page = await context.new_page()
    devtools = await context.new_cdp_session(page)
    visit = Visit(page, devtools)
    bytes_per_second = limits.megabits * 1_000_000 / 8
    conditions = {"offline": False, "latency": limits.latency, "uploadThroughput": bytes_per_second}
    await devtools.send("Network.enable")
    await devtools.send("Network.emulateNetworkConditions", {**conditions, "downloadThroughput": bytes_per_second})
    await devtools.send("Emulation.setCPUThrottlingRate", {"rate": limits.cpu})
    await page.add_init_script(_OBSERVE)
    return visit


async def load(browser: Browser, url: str, path: str, session: str, limits: Limits) -> Load:
    """Load a page. Chromium's throttled network sometimes never delivers a response; then try again."""
    for _ in range(MAX_TRIES - 1):
        try:
            return await _load(browser, url, path, session, limits)
        except TimeoutError:
            continue
    return await _load(browser, url, path, session, limits)


async def _load(browser: Browser, url: str, path: str, session: str, limits: Limits) -> Load:
    visit = await open_visit(browser, url, session, limits)
    try:
        ready = float("nan")
        if path == "/":
            async with visit.page.expect_console_message(
                lambda message: message.text == "chat-ready", timeout=READY_SECONDS * 1000
            ):
                await visit.page.goto(url + path, timeout=READY_SECONDS * 1000)
            ready = await visit.page.evaluate("performance.getEntriesByName('chat-ready')[0].startTime")
            await visit.page.wait_for_selector("#chat[data-complete]", timeout=READY_SECONDS * 1000)  # all of its bytes
        else:
            await visit.page.goto(url + path, timeout=READY_SECONDS * 1000)
        await visit.page.wait_for_load_state("networkidle", timeout=READY_SECONDS * 1000)
        return Load(visit.bytes, len(visit.urls), await visit.page.evaluate(_PAINT), ready)
    finally:
        await visit.page.context.close()


async def first_answer(browser: Browser, url: str, limits: Limits) -> int:
    """Return the bytes that a visitor's first answer loads, with code and a formula."""
    visit = await open_visit(browser, url, "", limits)
    try:
        await visit.page.goto(f"{url}/", timeout=READY_SECONDS * 1000)
        await visit.page.wait_for_selector("#chat[data-complete]", timeout=READY_SECONDS * 1000)
        await visit.page.wait_for_load_state("networkidle", timeout=READY_SECONDS * 1000)
        before = visit.bytes
        await visit.page.fill("#prompt", "Hello")
        await visit.page.press("#prompt", "Enter")
        for selector in (".katex", "code .hljs-built_in"):
            await visit.page.wait_for_selector(selector, timeout=READY_SECONDS * 1000)
        await visit.page.wait_for_load_state("networkidle", timeout=READY_SECONDS * 1000)
        return visit.bytes - before
    finally:
        await visit.page.context.close()


async def measure(url: str, session: str, limits: Limits, rounds: int) -> int:
    """Print a table of all pages. Returns the number of exceeded budgets."""
    print("| page | KB | requests | first paint ms | ready ms |\n| --- | ---: | ---: | ---: | ---: |")
    exceeded = []
    async with chromium() as browser:
        visits = [("visitor", "/", ""), ("member", "/", session), *(("member", path, session) for path in PAGES)]
        for who, path, cookie in visits:
            await load(browser, url, path, cookie, limits)  # the edge compresses files on first use
            loads = [await load(browser, url, path, cookie, limits) for _ in range(rounds)]
            found = Load(*(median(values) for values in zip(*loads, strict=True)))  # type: ignore[arg-type]
            ready = f"{found.ready:.0f}" if path == "/" else ""
            figures = f"{found.bytes / 1000:.1f} | {found.requests:.0f} | {found.paint:.0f}"
            print(f"| {path} ({who}) | {figures} | {ready} |", flush=True)
            if path == "/":
                budgets = ((found.bytes, MAX_BYTES, "bytes"), (found.paint, MAX_FIRST_PAINT_MS, "ms to the first paint"))
                for value, budget, unit in (*budgets, (found.ready, MAX_READY_MS, "ms until it is ready")):
                    if not value <= budget:
                        exceeded.append(f"{path} ({who}): {value:.0f} {unit}, budget {budget}")
        answer = await first_answer(browser, url, limits)
    print(f"\nThe first answer, with code and a formula, loads {answer / 1000:.1f} KB more.")
    print(f"Load average of this machine: {os.getloadavg()[0]:.1f}. Times are only valid if its cores are idle.")
    print("\n".join(exceeded) or "All budgets of the chat are kept.")
    return len(exceeded)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.web_app", description=str(__doc__).splitlines()[0])
    parser.add_argument("--cpu", type=float, default=4, help="how many times slower the CPU is")
    parser.add_argument("--megabits", type=float, default=1.6)
    parser.add_argument("--latency", type=float, default=20, help="milliseconds added to each request")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--language", default="en-US")
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="web-app-"))
    postgres, redis, upstream = Postgres(), RedisServer("valkey", folder), Upstream()
    upstream.default = lambda _: stream(role(), chunk(ANSWER), finish(), usage(7, 9), DONE)
    edge = None
    try:
        database_url = postgres.create_migrated()
        with opened(database_url) as target:
            bind_database(target)
            channel = factories.channel(upstream.url)
            for number in range(MODELS):
                factories.model(f"model-{number}", channel, is_free=number == 0, context_window=128_000)
            account = sign_up("member@example.com", "known to nobody", 500_000)
            session = create_session(account.id, "Chromium", password_hash="known to nobody").secret
            settings = {"database_url": database_url, "redis_url": redis.url, "data_dir": folder}
            edge = start_edge(folder, environment_of({**settings, "visitor_pool_credits": 1_000_000}))
            limits = Limits(chosen.cpu, chosen.megabits, chosen.latency, chosen.language)
            return 1 if asyncio.run(measure(edge.url, session, limits, chosen.rounds)) else 0
    finally:
        if edge is not None:
            edge.kill()
        upstream.close()
        redis.kill()
        postgres.stop()


if __name__ == "__main__":
    sys.exit(main())
