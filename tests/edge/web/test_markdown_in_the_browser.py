"""Markdown in a real browser, under the pages' content security policy: streaming, attacks, highlighting and math."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect

from edge.web.assets import asset_url
from tests.conftest import OpenPage
from tests.edge.web.conftest import Site
from tests.edge.web.markdown_html import Event, events
from tests.edge.web.test_markdown import ATTACKS, CASES

pytestmark = pytest.mark.parametrize("running_site", ["sqlite"], indirect=True)

# Renders each text in `parts` steps; returns the HTML, and whether the first block stayed the same element.
SHOW = """async ([module, texts, parts]) => {
  const { loadMarkdown, renderMarkdown } = await import(module);
  await loadMarkdown();
  return Promise.all(texts.map(async (text) => {
    const element = document.createElement("div");
    document.querySelector("main").append(element);
    const first = new Set();
    for (let part = 1; part < parts; part += 1) {
      await renderMarkdown(element, text.slice(0, Math.ceil((text.length * part) / parts)), { streaming: true });
      if (element.children.length > 2) first.add(element.firstElementChild);
    }
    await renderMarkdown(element, text);
    first.add(element.firstElementChild);
    return [element.innerHTML, first.size === 1];
  }));
}"""
MODULE = asset_url("markdown.js")
CODE = "```python\nif a < b:\n    pass\n```"
TEXT = f"# Title\n\nFirst *one* with\nlines.\n\n- a\n- b\n\n  more\n\n{CODE}\n\n| a |\n|---|\n| 1 |\n\nLast."
MATH = "Then $x^2$.\n\n$$\n\\frac{a}{b}\n$$\n\n\\(\\undefined{\\)"
_NUMBER = re.compile(r"(?<=fn)\d+|(?<=fnref)\d+")


def structure(html: str) -> list[Event]:
    """The HTML's structure without message numbers and what only the browser adds: link targets, and marks of complete blocks."""
    added = ("target=_blank", "data-complete=")
    return [tuple(_NUMBER.sub("", part) for part in event if part not in added) for event in events(html)]


async def test_markdown_in_the_browser(site: Site, open_page: OpenPage) -> None:
    url = f"http://127.0.0.1:{site.edge().port}"
    page = await open_page()
    await page.goto(f"{url}/docs")
    await page.evaluate("document.querySelector('main').replaceChildren()")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url.removeprefix(url)))

    # Streamed or not, a text is the same in the end, and as the rules say.
    texts = {case["text"]: case["html"] for case in CASES if "language-" not in case["html"] and "math" not in case["html"]}
    whole = await page.evaluate(SHOW, [MODULE, list(texts), 1])
    streamed = await page.evaluate(SHOW, [MODULE, list(texts), 5])
    for (text, expected), (html, _), (streamed_html, _) in zip(texts.items(), whole, streamed, strict=True):
        assert structure(html) == structure(expected), text
        assert structure(streamed_html) == structure(expected), text

    # Nothing runs, and nothing is requested.
    for parts in (1, 3):
        await page.evaluate(SHOW, [MODULE, ATTACKS, parts])
    assert await page.evaluate("window.ran") is None
    assert not [path for path in asked if not path.startswith("/assets/") or "katex" in path]

    # Complete blocks are not rendered again. Highlighting and math load when they are first needed.
    [[_, same]] = await page.evaluate(SHOW, [MODULE, [TEXT], 40])
    assert same
    await page.evaluate("document.querySelector('main').replaceChildren()")
    await page.evaluate(SHOW, [MODULE, [f"{CODE}\n\n{MATH}"], 9])
    await page.wait_for_selector(".katex-display .mfrac")
    await page.wait_for_selector("code.language-python .hljs-keyword")
    assert await page.locator(".katex").count() == 2
    assert await page.locator("code.math").inner_text() == "\\undefined{"  # invalid TeX is shown unchanged
    assert await page.evaluate("document.fonts.ready.then((fonts) => [...fonts].some((font) => font.status === 'loaded'))")
    await page.click("button.copy")
    assert await page.evaluate("navigator.clipboard.readText()") == "if a < b:\n    pass\n"
    assert all(path.startswith("/assets/") for path in asked)

    # Thousands of formulas do not block the page: the first ones are typeset, and a note says so.
    for parts in (1, 2):
        await page.evaluate("document.querySelector('main').replaceChildren()")
        await page.evaluate(SHOW, [MODULE, ["$x$ " * 300 + "\n\n" + "$y$ " * 202], parts])
        await expect(page.locator(".katex")).to_have_count(500)
        await expect(page.locator("code.math")).to_have_count(2)
        await expect(page.locator("main p").last).to_have_text(
            "Only the first 500 formulas are typeset. The others are shown as TeX."
        )
