"""The documentation: chapters, the reference, working links, the search, and the advice for every error code."""

from __future__ import annotations

import gzip
import re
from html import unescape
from urllib.parse import urlsplit

import pytest
from playwright.async_api import expect

from edge.http.errors import CONFLICTS, ERROR_SPECS
from edge.reference.document import OWN_CODES
from edge.web.docs.error_advice import error_rows
from edge.web.docs.pages import CHAPTERS
from edge.web.docs.search_index import chapter_entries
from tests.conftest import OpenPage
from tests.edge.web.conftest import Browser, Site

ON_SQLITE = pytest.mark.parametrize("running_site", ["sqlite"], indirect=True)
MAX_COMPRESSED_BYTES = 20_000  # of a page
STRUCTURE = re.compile(r'<h[123]|id="[^"]+"|href="[^"]+"|<code>.*?</code>', re.S)  # headings, anchors, links and code


def test_every_error_code_has_advice() -> None:
    raised = {code for kind, spec in ERROR_SPECS.items() for code in ((spec.code,) if spec.code else OWN_CODES[kind])}
    raised |= {spec.code for spec in CONFLICTS.values()}
    assert {row.code for row in error_rows() if row.advice} >= raised


def test_the_index_of_a_page() -> None:
    html = '<nav>Menu</nav><main><h1>Top</h1><p>One &amp; <b>two</b></p><pre>code</pre><h2 id="b">Below</h2>Three</main><p>x</p>'
    assert chapter_entries("/docs/x", "X", html) == [
        ("Top", "X", "/docs/x", "One & two"),
        ("Below", "X", "/docs/x#b", "Three"),
    ]


def links(html: str) -> set[str]:
    return {unescape(link) for link in re.findall(r'href="(/docs[^"]*|#[^"]*)"', html)}


@ON_SQLITE
def test_every_page_is_small_and_every_link_works(site: Site) -> None:
    browser = site.browser()
    pages: dict[str, str] = {}
    waiting = {"/docs", *(chapter.url for chapter in CHAPTERS)}
    targets: set[tuple[str, str]] = set()
    while waiting:
        path = waiting.pop()
        answer = browser.get(path)
        assert answer.status == 200, path
        pages[path] = answer.body.decode()
        assert len(gzip.compress(answer.body)) < MAX_COMPRESSED_BYTES, path
        for link in links(pages[path]):
            url = urlsplit(link)
            targets.add((url.path or path, url.fragment))
            if url.path and url.path not in pages:
                waiting.add(url.path)
    assert len(pages) > 20
    broken = [(path, anchor) for path, anchor in targets if anchor and f'id="{anchor}"' not in pages[path]]
    assert broken == []
    assert "`" not in re.sub(r"<pre.*?</pre>", "", "".join(pages.values()), flags=re.S)
    assert browser.get("/docs/nothing").status == browser.get("/docs/reference/nothing").status == 404
    assert "<code>messages[]<wbr>.role</code>" in pages["/docs/reference/chat-completions"]


@ON_SQLITE
def test_the_documentation_in_german_has_the_same_structure(site: Site) -> None:
    browser = site.browser()
    menu = browser.get("/docs/reference").body.decode()
    reference = {link for link in links(menu) if link.startswith("/docs/reference/") and "#" not in link}
    assert len(reference) > 10
    for path in (*(chapter.url for chapter in CHAPTERS), "/docs/reference", *reference):
        english = browser.get(path, {"accept-language": "en"}).body.decode()
        german = browser.get(path, {"accept-language": "de"}).body.decode()
        english, german = english.partition("<main")[2], german.partition("<main")[2]
        assert sorted(STRUCTURE.findall(german)) == sorted(STRUCTURE.findall(english)) != [], (
            path
        )  # words may be in another order
    assert browser.get("/openapi.json", {"accept-language": "de"}).body == browser.get("/openapi.json").body  # in English


def indexed(browser: Browser, language: str = "en") -> list[list[str]]:
    rows: list[list[str]] = browser.get(f"/docs/search.json?language={language}").json
    return rows


@ON_SQLITE
async def test_the_search_finds_chapters_and_fields(site: Site, open_page: OpenPage) -> None:
    rows = indexed(site.browser())
    assert {"First call", "Create a chat completion"} <= {row[0] for row in rows}
    german = indexed(site.browser(), "de")
    assert {"Erster Aufruf", "Chat-Completion erstellen"} <= {row[0] for row in german}
    assert any("messages Die bisherige Unterhaltung." in row[3] for row in german)
    assert [row[2] for row in german] == [row[2] for row in rows]
    assert all(row[2].startswith("/docs") and "`" not in row[3] for row in rows)
    page = await open_page()
    await page.goto(f"{site.edge().url}/docs")
    await page.keyboard.press("/")
    await page.keyboard.type("idempotency retry")
    await expect(page.locator("#docs-results a").first).to_contain_text("Retry safely")
    await page.fill("#docs-search", "frequency_penalty")
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("Enter")
    await expect(page.locator("h1")).to_have_text("Chat completions")
    await page.fill("#docs-search", "no such words")
    await expect(page.locator("#docs-results")).to_have_text("No results.")
