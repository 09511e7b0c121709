"""Check a page for accessibility with axe and for horizontal scrolling, and optionally save a screenshot."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import Page

SERIOUS = ("serious", "critical")
SCREENSHOT_FOLDER = os.environ.get("YOUT_TEST_SCREENSHOTS")


# Elements that extend beyond the viewport, except inside a container that scrolls by itself.
_WIDE_ELEMENTS = """[...document.body.querySelectorAll("*")].filter((one) => one.getBoundingClientRect().right > innerWidth
  && !one.closest(".table, pre, nav")).map((one) => one.outerHTML.slice(0, 120)).slice(-3)"""


async def check_page(page: Page, axe: str, name: str = "") -> None:
    """Fail on serious axe violations, or if the page is wider than the viewport.

    If YOUT_TEST_SCREENSHOTS is set, a screenshot of the whole page is saved to that folder, named `name` or by the page's path.
    """
    await page.evaluate(axe)
    found: dict[str, Any] = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    bad = [
        (violation["id"], [node["html"][:120] for node in violation["nodes"]])
        for violation in found["violations"]
        if violation["impact"] in SERIOUS
    ]
    if SCREENSHOT_FOLDER:
        width = page.viewport_size["width"] if page.viewport_size else 0
        named = re.sub(r"[^a-zA-Z_-]+", "-", name or urlsplit(page.url).path).strip("-") or "front"
        await page.screenshot(path=Path(SCREENSHOT_FOLDER) / f"{named}-{width}.png", full_page=True)
    assert bad == [], f"{page.url}: {bad}"
    if await page.evaluate("document.documentElement.scrollWidth > innerWidth"):
        raise AssertionError(f"{page.url} is too wide, by {await page.evaluate(_WIDE_ELEMENTS)}")
