"""What a shared message looks like, as the chat shows it, and that rendering is done once, apart and within bounds."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from edge.web import share_renderer
from edge.web.markdown import plain, render
from edge.web.share_renderer import ShareRenderer
from shared.core.clock import new_id
from tests.conftest import OpenPage
from tests.servers.process import ROOT

PARITY = {
    "one\ntwo": "<p>one<br>two</p>",
    "call __init__(*args) and f(*args, **kwargs)": "<p>call __init__(*args) and f(*args, **kwargs)</p>",
    "__main__.py, a__b__c, snake_case_name": "<p>__main__.py, a__b__c, snake_case_name</p>",
    "C:\\new\\*.txt and \\d+\\.": "<p>C:\\new\\*.txt and \\d+\\.</p>",
    "so \\(a_1 * b_2 * c\\) holds": "<p>so \\(a_1 * b_2 * c\\) holds</p>",
    "$$x_1 *y* z$$": "<p>$$x_1 *y* z$$</p>",
    "\\[a\\\\\nb\\]": "<p>\\[a\\\\<br>b\\]</p>",
    "**bold** and *italic* and `__x__`": "<p><strong>bold</strong> and <em>italic</em> and <code>__x__</code></p>",
    "__two words__ and _one_": "<p><strong>two words</strong> and <em>one</em></p>",
    "שלום **עולם**": "<p>שלום <strong>עולם</strong></p>",
}


@pytest.mark.parametrize(("text", "html"), PARITY.items())
def test_an_answer_is_shown_as_in_the_chat(text: str, html: str) -> None:
    assert render(text).replace("<br>\n", "<br>").strip() == html


async def test_the_chat_shows_the_same(open_page: OpenPage) -> None:
    page = await open_page()
    await page.set_content("<div id=place></div>")
    await page.add_script_tag(content=(ROOT / "edge/web/static/markdown.js").read_text() + ";window.Markdown = Markdown;")
    show = "text => { const place = document.getElementById('place'); Markdown.show(place, text); return place.innerHTML; }"
    assert {text: await page.evaluate(show, text) for text in PARITY} == PARITY


def test_what_a_person_wrote_is_shown_as_it_is() -> None:
    assert plain("a <b>\n__x__ \\d") == '<div class="plain">a &lt;b&gt;\n__x__ \\d</div>'


def test_delimiters_that_are_never_closed_are_text() -> None:
    assert render("\\(a \\(b $$c") == "<p>\\(a \\(b $$c</p>\n"
    assert render("\\(a\n\n\\(b\\)") == "<p>\\(a</p>\n<p>\\(b\\)</p>\n"


async def test_a_share_is_rendered_once_however_many_read_it(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, gate, share = [], asyncio.Event(), new_id()

    async def rendered(turns: Any) -> list[str]:
        begun.append(turns)
        await gate.wait()
        return [render(text) for _, text in turns]

    monkeypatch.setattr(share_renderer, "_rendered_apart", rendered)
    renderer = ShareRenderer()
    readers = [asyncio.create_task(renderer.render(share, [("assistant", "**x**")])) for _ in range(30)]
    await asyncio.sleep(0)
    readers[0].cancel()  # whoever came first leaves
    gate.set()
    assert await asyncio.gather(*readers[1:]) == [["<p><strong>x</strong></p>\n"]] * 29
    assert await renderer.render(share, []) == ["<p><strong>x</strong></p>\n"]
    assert len(begun) == 1


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Any] = []

    async def rendered(turns: Any) -> list[str]:
        begun.append(turns)
        return [text for _, text in turns]

    monkeypatch.setattr(share_renderer, "_rendered_apart", rendered)
    renderer = ShareRenderer(max_cache_bytes=30)
    first, second, large = new_id(), new_id(), new_id()
    for share, text in ((first, "a" * 16), (second, "b" * 16), (first, "a" * 16), (large, "c" * 100), (large, "c" * 100)):
        assert await renderer.render(share, [("user", text)]) == [text]
    assert len(begun) == 5  # the second displaced the first, and the large one is never kept


async def test_what_takes_too_long_is_shown_as_plain_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(share_renderer, "CPU_SECONDS", 1)
    turns = [("user", "hello")] + [("assistant", "[" * 190_000)] * 20  # far more than a share may hold
    assert await ShareRenderer().render(new_id(), turns) == [plain(text) for _, text in turns]


async def test_what_becomes_too_large_is_shown_as_plain_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(share_renderer, "MAX_HTML_CHARACTERS", 1_000)
    table = "|a|b|\n|-|-|\n" + "|\n" * 100
    assert await ShareRenderer().render(new_id(), [("assistant", table)]) == [plain(table)]


async def test_a_renderer_that_does_not_answer_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(share_renderer, "RENDER_SECONDS", 0)
    assert await ShareRenderer().render(new_id(), [("assistant", "**x**")]) == [plain("**x**")]


async def test_without_a_process_to_spare_it_is_plain_text(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError

    monkeypatch.setattr(asyncio, "create_subprocess_exec", refuse)
    assert await ShareRenderer().render(new_id(), [("assistant", "**x**")]) == [plain("**x**")]


async def test_an_ordinary_share_is_rendered_apart() -> None:
    turns = [("user", "**as it is**"), ("assistant", "**bold**")]
    assert await ShareRenderer().render(new_id(), turns) == [plain("**as it is**"), "<p><strong>bold</strong></p>\n"]
