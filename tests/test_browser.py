"""The browser that other tests use: it opens pages, and reports their errors."""

from __future__ import annotations

from tests.conftest import OpenPage
from tests.servers.browser import PHONE


async def test_a_page_opens_and_its_errors_are_collected(open_page: OpenPage) -> None:
    page = await open_page(viewport=PHONE, scheme="dark")
    await page.set_content("<h1>Hello</h1><script>console.error('oh'); undefinedFunction()</script>")
    assert await page.inner_text("h1") == "Hello"
    problems: list[str] = page.problems  # type: ignore[attr-defined]  # put there by `open_page`
    assert [problem.split(":")[0] for problem in sorted(problems)] == ["console", "script error"]
    problems.clear()
    assert await page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    assert await page.evaluate("innerWidth") == PHONE["width"]
