"""A shared page in a real browser: messages as in the chat, whose content cannot run scripts, load resources or send data."""

from __future__ import annotations

import http.client
from collections.abc import Callable
from contextlib import closing

import peewee
import pytest
from playwright.async_api import expect

from edge.web.assets import asset_url
from shared.operations.conversations import ChatMessage
from shared.operations.shares import share_messages
from tests import factories
from tests.conftest import OpenPage
from tests.edge.web.test_markdown import ATTACKS, TEX_ATTACKS
from tests.page_checks import check_page
from tests.servers.browser import PHONE
from tests.servers.edge import WebProcess

StartWeb = Callable[..., WebProcess]


ASSETS = ("tokens.css", "markdown.css", "share.css")
TALK = "Then $x^2$ and $\\undefined{$:\n\n$$\n\\frac{a}{b}\n$$\n\n```python\nif a < b:\n    pass\n```"
# Whether a point of the formula that moves its text out of its message is that text for clicks, which is so where it is painted.
IS_PAINTED = """over => {
  const { left, top, width, height } = over.getBoundingClientRect();
  return top > 0 && over.contains(document.elementFromPoint(left + width / 2, top + height / 2));
}"""


@pytest.mark.parametrize("any_database_url", ["sqlite"], indirect=True)
async def test_hostile_text_runs_nothing_and_requests_nothing(
    bound_database: peewee.Database, any_database_url: str, redis_url: str, start_edge: StartWeb, open_page: OpenPage
) -> None:
    owner, attacks = factories.account(), [*ATTACKS, *TEX_ATTACKS]
    turns = [ChatMessage(role, text) for role in ("user", "assistant") for text in attacks]
    hostile = share_messages(owner.id, "</title><script>window.ran=1</script>", turns)
    edge = start_edge(database_url=any_database_url, redis_url=redis_url)
    page = await open_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("dialog", lambda dialog: asked.append(f"dialog: {dialog.message}"))
    await page.goto(f"{edge.url}/c/{hostile.slug}", wait_until="networkidle")
    await page.wait_for_selector(".hljs-tag, .hljs-name")
    await expect(page.locator(".katex")).to_have_count(len(TEX_ATTACKS) - 1)  # endless TeX stays as it is
    assert await page.locator("article").count() == 2 * len(attacks)
    assert await page.evaluate("window.ran") is None
    assert await page.title() == "</title><script>window.ran=1</script> · yout"
    assert [url for url in asked if url != f"{edge.url}/c/{hostile.slug}" and not url.startswith(f"{edge.url}/assets/")] == []
    for element in ("img", "iframe", "object", "embed", "style", "form", "meta[http-equiv]", "base"):
        expected = 1 if element == "form" else 0  # the language switch
        assert await page.locator(element).count() == expected, element
    assert await page.locator("script").count() == 1
    assert await page.locator("article :is(script, svg, .top), article #main").count() == 0
    schemes = await page.eval_on_selector_all("article a", "links => links.map(link => link.protocol)")
    assert schemes
    assert set(schemes) <= {"http:", "https:"}
    relations = await page.eval_on_selector_all("article a", "links => links.map(link => link.rel)")
    assert set(relations) == {"nofollow noopener noreferrer"}
    handlers = (
        "all => all.flatMap(one => [...one.attributes]).filter(one => /^on/.test(one.name) || /url/.test(one.value)).length"
    )
    assert await page.eval_on_selector_all("article :not(annotation)", handlers) == 0
    over = page.locator(".katex-html .text", has_text="over").last
    await over.evaluate("over => scrollBy(0, over.getBoundingClientRect().top - 50)")
    assert await over.evaluate(
        "over => over.getBoundingClientRect().bottom < over.closest('article').getBoundingClientRect().top"
    )
    assert not await over.evaluate(IS_PAINTED)


@pytest.mark.parametrize("any_database_url", ["sqlite"], indirect=True)
async def test_code_and_formulas_are_shown_as_in_the_chat(
    bound_database: peewee.Database, any_database_url: str, redis_url: str, start_edge: StartWeb, open_page: OpenPage, axe: str
) -> None:
    owner = factories.account()
    talk = share_messages(owner.id, "A talk", [ChatMessage("user", TALK), ChatMessage("assistant", TALK)])
    plain = share_messages(owner.id, "A talk", [ChatMessage("user", TALK), ChatMessage("assistant", "*Just* `text` for $5.")])
    edge = start_edge(database_url=any_database_url, redis_url=redis_url)
    page = await open_page(locale="de-DE")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    response = await page.goto(f"{edge.url}/c/{plain.slug}", wait_until="networkidle")
    assert response is not None
    assert "script" not in response.headers["content-security-policy"]
    assert await page.locator("script").count() == 0
    assert set(asked) == {f"{edge.url}{path}" for path in (f"/c/{plain.slug}", *map(asset_url, ASSETS))}

    await page.goto(f"{edge.url}/c/{talk.slug}", wait_until="networkidle")
    answer = page.locator("article.assistant")
    await expect(answer.locator(".katex")).to_have_count(2)
    await expect(answer.locator(".katex-display .mfrac")).to_have_count(1)
    await expect(answer.locator("code.math")).to_have_text("\\undefined{")
    await expect(answer.locator("code.language-python .hljs-keyword").first).to_have_text("if")
    await expect(answer.locator("button.copy")).to_have_text("Kopieren")
    assert await page.evaluate("document.fonts.ready.then((fonts) => [...fonts].some((font) => font.status === 'loaded'))")
    assert await page.inner_text("article.user .text") == TALK
    await check_page(page, axe, "share")
    assert [url for url in asked if not url.startswith((f"{edge.url}/assets/", f"{edge.url}/c/"))] == []

    still = await open_page(javascript=False)
    await still.goto(f"{edge.url}/c/{talk.slug}")
    assert await still.locator("article.assistant code.math").all_inner_texts() == ["x^2", "\\undefined{", "\\frac{a}{b}"]
    assert await still.inner_text("article.assistant pre") == "if a < b:\n    pass\n"


@pytest.mark.parametrize("any_database_url", ["sqlite"], indirect=True)
async def test_a_share_fits_a_phone_and_explains_when_it_is_gone(
    bound_database: peewee.Database, any_database_url: str, redis_url: str, start_edge: StartWeb, open_page: OpenPage
) -> None:
    text = (
        "# A table\n\n| a | b |\n|-|-|\n| "
        + "long " * 40
        + "| 2 |\n\n```\n"
        + "x" * 300
        + "\n```\n\n"
        + "y" * 300
        + " $\\rule{40em}{1em}$"
    )
    share = share_messages(factories.account().id, "A talk", [ChatMessage("user", "Show me."), ChatMessage("assistant", text)])
    edge = start_edge(database_url=any_database_url, redis_url=redis_url)
    page = await open_page(viewport=PHONE, scheme="dark")
    await page.goto(f"{edge.url}/c/{share.slug}")
    await page.wait_for_selector(".katex")
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert await page.eval_on_selector(
        ".text.markdown:has(.katex)", "message => message.scrollWidth > message.clientWidth"
    )  # scrolls
    share.delete_instance()
    response = await page.goto(f"{edge.url}/c/{share.slug}")
    assert response is not None
    assert response.status == 404
    assert await page.inner_text("h1") == "Page not found"
    page.problems.clear()  # type: ignore[attr-defined]  # the browser's own line about the 404


@pytest.mark.parametrize("any_database_url", ["sqlite"], indirect=True)
def test_reads_are_limited_per_network(
    bound_database: peewee.Database, any_database_url: str, redis_url: str, start_edge: StartWeb
) -> None:
    share = share_messages(factories.account().id, "A talk", [ChatMessage("user", "Hello")])
    edge = start_edge(database_url=any_database_url, redis_url=redis_url, trusted_proxies=("127.0.0.1",))

    def read(address: str) -> tuple[int, str | None]:
        with closing(http.client.HTTPConnection("127.0.0.1", edge.port, timeout=30)) as connection:
            connection.request("GET", f"/c/{share.slug}", headers={"accept": "application/json", "x-forwarded-for": address})
            answer = connection.getresponse()
            return answer.status, answer.headers["retry-after"]

    statuses = (read("203.0.113.7") for _ in range(2_000))
    refused = next(answer for answer in statuses if answer[0] != 200)
    assert refused[0] == 429
    assert int(refused[1] or 0) > 0
    assert read("203.0.113.8")[0] == 200
