"""The quirks of vendors of OpenAI's format: what each takes of what a caller may say."""

from __future__ import annotations

from typing import Any

import pytest

from tests.shared.providers.calls import sent


@pytest.mark.parametrize(
    ("taken", "asked", "told"),
    [
        (None, "xhigh", "xhigh"),
        (["low", "medium", "high"], "medium", "medium"),
        (["low", "medium", "high"], "max", "high"),
        (["low", "medium", "high"], "none", "low"),
        (["none", "low", "high"], "minimal", "low"),
        (["none", "default"], "high", "default"),
        (["none", "default"], "none", "none"),
        ([], "high", None),
        ({"vendor-model": []}, "high", None),
        ({"another-model": []}, "high", "high"),
        (["low"], "extreme", "extreme"),
        (["low"], None, None),
    ],
)
def test_an_effort_becomes_the_nearest_that_the_model_takes(taken: Any, asked: str | None, told: str | None) -> None:
    body = sent("openai", settings={"efforts": taken}, reasoning_effort=asked)
    assert body.get("reasoning_effort") == told
