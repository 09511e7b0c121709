"""Shared messages are rendered once, in a separate process, within time and size limits."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from edge.web import share_renderer
from edge.web.markdown import render
from edge.web.plain_html import plain
from edge.web.share_renderer import ShareRenderer
from shared.core.clock import new_id


async def test_a_share_is_rendered_once_for_all_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, gate, share = [], asyncio.Event(), new_id()

    async def rendered(turns: Any) -> list[str]:
        begun.append(turns)
        await gate.wait()
        return [render(text) for _, text in turns]

    monkeypatch.setattr(share_renderer, "_render_in_process", rendered)
    renderer = ShareRenderer()
    readers = [asyncio.create_task(renderer.render(share, [("assistant", "**x**")])) for _ in range(30)]
    await asyncio.sleep(0)
    readers[0].cancel()  # the first reader disconnects
    gate.set()
    assert await asyncio.gather(*readers[1:]) == [['<p dir="auto"><strong>x</strong></p>\n']] * 29
    assert await renderer.render(share, []) == ['<p dir="auto"><strong>x</strong></p>\n']
    assert len(begun) == 1


async def test_the_cache_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Any] = []

    async def rendered(turns: Any) -> list[str]:
        begun.append(turns)
        return [text for _, text in turns]

    monkeypatch.setattr(share_renderer, "_render_in_process", rendered)
    renderer = ShareRenderer(max_cache_bytes=30)
    first, second, large = new_id(), new_id(), new_id()
    for share, text in ((first, "a" * 16), (second, "b" * 16), (first, "a" * 16), (large, "c" * 100), (large, "c" * 100)):
        assert await renderer.render(share, [("user", text)]) == [text]
    assert len(begun) == 5  # the second evicted the first, and the large one is never cached


async def test_a_slow_rendering_falls_back_to_plain_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(share_renderer, "CPU_SECONDS", 1)
    turns = [("user", "hello")] + [("assistant", "[" * 190_000)] * 20  # far more than a share may contain
    assert await ShareRenderer().render(new_id(), turns) == [plain(text) for _, text in turns]


async def test_an_oversized_rendering_falls_back_to_plain_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(share_renderer, "MAX_HTML_CHARACTERS", 1_000)
    table = "|a|b|\n|-|-|\n" + "|\n" * 100
    assert await ShareRenderer().render(new_id(), [("assistant", table)]) == [plain(table)]


async def test_a_hung_renderer_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(share_renderer, "RENDER_SECONDS", 0)
    assert await ShareRenderer().render(new_id(), [("assistant", "**x**")]) == [plain("**x**")]


async def test_without_a_renderer_process_it_is_plain_text(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError

    monkeypatch.setattr(asyncio, "create_subprocess_exec", refuse)
    assert await ShareRenderer().render(new_id(), [("assistant", "**x**")]) == [plain("**x**")]


async def test_a_share_is_rendered_in_a_separate_process() -> None:
    turns = [("user", "**as it is**"), ("assistant", "**bold**")]
    assert await ShareRenderer().render(new_id(), turns) == [plain("**as it is**"), '<p dir="auto"><strong>bold</strong></p>\n']
