"""A shared page in a real browser: message content cannot run scripts, load resources or send data."""

from __future__ import annotations

import http.client
from collections.abc import Callable
from contextlib import closing

import peewee
import pytest

from edge.web.assets import asset_url
from shared.operations.conversations import ChatMessage
from shared.operations.shares import share_messages
from tests import factories
from tests.conftest import OpenPage
from tests.edge.web.test_markdown import ATTACKS
from tests.servers.browser import PHONE
from tests.servers.edge import WebProcess

StartWeb = Callable[..., WebProcess]


@pytest.mark.parametrize("any_database_url", ["sqlite"], indirect=True)
async def test_no_script_runs_and_no_request_leaves(
    bound_database: peewee.Database, any_database_url: str, redis_url: str, start_edge: StartWeb, open_page: OpenPage
) -> None:
    owner = factories.account()
    turns = [ChatMessage("assistant" if number % 2 else "user", text) for number, text in enumerate(ATTACKS)]
    hostile = share_messages(owner.id, "</title><script>window.ran=1</script>", turns)
    edge = start_edge(database_url=any_database_url, redis_url=redis_url)
    page = await open_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("dialog", lambda dialog: asked.append(f"dialog: {dialog.message}"))
    await page.goto(f"{edge.url}/c/{hostile.slug}", wait_until="networkidle")
    assert await page.locator("article").count() == len(ATTACKS)
    assert await page.evaluate("window.ran") is None
    assert await page.title() == "</title><script>window.ran=1</script> · yout"
    files = [asset_url(name) for name in ("tokens.css", "markdown.css", "share.css")]
    assert set(asked) == {f"{edge.url}{path}" for path in (f"/c/{hostile.slug}", *files)}
    for element in ("script", "img", "iframe", "object", "embed", "svg", "style", "form", "meta[http-equiv]", "base"):
        expected = 1 if element == "form" else 0  # the language switch
        assert await page.locator(element).count() == expected, element
    schemes = await page.eval_on_selector_all("article a", "links => links.map(link => link.protocol)")
    assert schemes
    assert set(schemes) <= {"http:", "https:"}
    relations = await page.eval_on_selector_all("article a", "links => links.map(link => link.rel)")
    assert set(relations) == {"nofollow noopener noreferrer"}
    handlers = "all => all.flatMap(one => [...one.attributes]).filter(one => /^on|style/.test(one.name)).length"
    assert await page.eval_on_selector_all("*", handlers) == 0


@pytest.mark.parametrize("any_database_url", ["sqlite"], indirect=True)
async def test_a_share_fits_a_phone_and_explains_when_it_is_gone(
    bound_database: peewee.Database, any_database_url: str, redis_url: str, start_edge: StartWeb, open_page: OpenPage
) -> None:
    text = "# A table\n\n| a | b |\n|-|-|\n| " + "long " * 40 + "| 2 |\n\n```\n" + "x" * 300 + "\n```\n\n" + "y" * 300
    share = share_messages(factories.account().id, "A talk", [ChatMessage("user", "Show me."), ChatMessage("assistant", text)])
    edge = start_edge(database_url=any_database_url, redis_url=redis_url)
    page = await open_page(viewport=PHONE, scheme="dark")
    await page.goto(f"{edge.url}/c/{share.slug}")
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
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
