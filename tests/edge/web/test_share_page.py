"""A shared page in a real browser: message content cannot run scripts, load resources or send data."""

from __future__ import annotations

import http.client
from collections.abc import Callable
from contextlib import closing

import peewee
import pytest

from edge.web.assets import asset_url
from edge.web.markdown import render
from shared.operations.conversations import ChatMessage
from shared.operations.shares import share_messages
from tests import factories
from tests.conftest import OpenPage
from tests.servers.browser import PHONE
from tests.servers.edge import WebProcess

StartWeb = Callable[..., WebProcess]
# Payloads that bypassed other sanitizers and Markdown renderers. Each tries to set `window.ran` or to reach `evil.test`.
CORPUS = [
    "<script>window.ran=1</script>",
    "<img src=x onerror=window.ran=1>",
    "<svg/onload=window.ran=1>",
    "<svg><script>window.ran=1</script></svg>",
    '<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror=window.ran=1&gt;">',
    '<noscript><p title="</noscript><img src=x onerror=window.ran=1>">',
    "<iframe src=javascript:parent.ran=1></iframe><iframe srcdoc='<script>parent.ran=1</script>'></iframe>",
    "<object data=javascript:window.ran=1></object><embed src=https://evil.test/e>",
    "<meta http-equiv=refresh content='0;url=https://evil.test/r'><base href=https://evil.test/>",
    "<link rel=stylesheet href=https://evil.test/s.css><style>@import url(https://evil.test/i.css)</style>",
    "<form action=https://evil.test/f><button autofocus onfocus=window.ran=1>x</button></form>",
    "<details open ontoggle=window.ran=1><video src=https://evil.test/v onerror=window.ran=1></details>",
    "<a href='javascript:window.ran=1' id=click1>click</a>",
    "[a](javascript:window.ran=1)",
    "[a](JaVaScRiPt:window.ran=1)",
    "[a](java\tscript:window.ran=1)",
    "[a](java&#10;script:window.ran=1)",
    "[a](&#106;avascript:window.ran=1)",
    "[a](data:text/html,<script>window.ran=1</script>)",
    "[a](vbscript:x) [b](file:///etc/passwd) [c](//evil.test/x)",
    "<javascript:window.ran=1>",
    "[a]: javascript:window.ran=1\n\n[a]",
    "![x](https://evil.test/p.png)",
    '![x](https://evil.test/p.png "t" onerror=window.ran=1)',
    '![a"onerror=window.ran=1](x)',
    "![x](data:image/svg+xml,<svg onload=window.ran=1>)",
    "[![x](https://evil.test/p.png)](https://evil.test/link)",
    '[x](https://evil.test/ "onmouseover=window.ran=1")',
    '[x](<https://evil.test/" onclick="window.ran=1>)',
    "`<img src=x onerror=window.ran=1>`",
    "```html\n</code></pre><script>window.ran=1</script>\n```",
    '``` "><img src=x onerror=window.ran=1>\nx\n```',
    "|a|\n|-|\n|<img src=x onerror=window.ran=1>|",
    "<!-- --!><img src=x onerror=window.ran=1> -->",
    "<![CDATA[<img src=x onerror=window.ran=1>]]>",
    "&lt;script&gt;window.ran=1&lt;/script&gt;",
    "\u202e<script>window.ran=1</script>\x00\ufeff",
    '<div style="background:url(https://evil.test/b)">x</div><p style=position:fixed>x',
    "> " * 300 + "deep",
    "*" * 5000,
    "[" * 2000 + "a",
]


@pytest.mark.parametrize("any_database_url", ["sqlite"], indirect=True)
async def test_no_script_runs_and_no_request_leaves(
    bound_database: peewee.Database, any_database_url: str, redis_url: str, start_edge: StartWeb, open_page: OpenPage
) -> None:
    owner = factories.account()
    turns = [ChatMessage("assistant" if number % 2 else "user", text) for number, text in enumerate(CORPUS)]
    hostile = share_messages(owner.id, "</title><script>window.ran=1</script>", turns)
    edge = start_edge(database_url=any_database_url, redis_url=redis_url)
    page = await open_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("dialog", lambda dialog: asked.append(f"dialog: {dialog.message}"))
    await page.goto(f"{edge.url}/c/{hostile.slug}", wait_until="networkidle")
    assert await page.locator("article").count() == len(CORPUS)
    assert await page.evaluate("window.ran") is None
    assert await page.title() == "</title><script>window.ran=1</script> · yout"
    assert set(asked) == {f"{edge.url}{path}" for path in (f"/c/{hostile.slug}", asset_url("tokens.css"), asset_url("share.css"))}
    for element in ("script", "img", "iframe", "object", "embed", "svg", "style", "form", "meta[http-equiv]", "base"):
        assert await page.locator(f"main {element}").count() == 0, element
    schemes = await page.eval_on_selector_all("main a", "links => links.map(link => link.protocol)")
    assert schemes
    assert set(schemes) <= {"http:", "https:", ":"}
    relations = await page.eval_on_selector_all("main a", "links => links.map(link => link.rel)")
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


@pytest.mark.parametrize("text", CORPUS)
def test_the_html_is_harmless_even_without_csp(text: str) -> None:
    html = render(text).lower()
    for forbidden in (
        "<script",
        "<img",
        "<svg",
        "<iframe",
        "<style",
        'href="javascript',
        'href="data',
        "<form",
        "<meta",
        "<link",
    ):
        assert forbidden not in html


def test_markdown_is_rendered() -> None:
    html = render("# T\n\n*a* **b** `c` ~~d~~\n\n1. x\n\n> q\n\n[l](https://example.com)\n\n|h|\n|-|\n|1|")
    for part in ("<h1>T</h1>", "<em>a</em>", "<strong>b</strong>", "<code>c</code>", "<s>d</s>", "<li>x</li>", "<blockquote>"):
        assert part in html
    assert '<a href="https://example.com" rel="nofollow noopener noreferrer">l</a>' in html
    assert "<td>1</td>" in html


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
