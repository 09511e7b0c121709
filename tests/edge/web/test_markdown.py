"""The share page and the chat render Markdown by the same rules, and neither renders anything that could run or load."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from edge.web.markdown import render
from edge.web.plain_html import plain
from tests.edge.web.markdown_html import events
from tests.servers.node import NODE
from tests.servers.process import ROOT

TABLE: dict[str, Any] = json.loads((ROOT / "tests/markdown_cases.json").read_text())
CASES: list[dict[str, str]] = TABLE["cases"]
ATTACKS: list[str] = [*TABLE["attacks"], "> " * 300 + "deep", "*" * 5000, "[" * 2000 + "a"]
TEX_ATTACKS: list[str] = TABLE["tex_attacks"]  # source until the browser typesets it
RULES = ROOT / "edge/web/static/markdown_rules.js"
LEGITIMATE = {
    *("p", "br", "hr", "blockquote", "pre", "code", "em", "strong", "s", "a", "sup", "h3", "h4", "h5", "h6", "ul", "ol", "li"),
    *("div", "figure", "figcaption", "section", "table", "thead", "tbody", "tr", "th", "td"),
}
ATTRIBUTES = {"dir", "href", "title", "id", "class", "tabindex", "start", "align"}


@pytest.fixture(scope="module")
def chat_html() -> dict[str, str]:
    """The HTML of all texts by the chat's rules."""
    texts = [case["text"] for case in CASES] + ATTACKS + TEX_ATTACKS
    done = subprocess.run(
        [NODE, ROOT / "tests/node/markdown.mjs", RULES.as_uri()],
        input=json.dumps(texts),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(texts, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("case", CASES, ids=[case["text"][:20] for case in CASES])
def test_a_share_renders_each_case(case: dict[str, str]) -> None:
    assert events(render(case["text"])) == events(case["html"])


def test_the_chat_renders_each_case(chat_html: dict[str, str]) -> None:
    for case in CASES:
        assert events(chat_html[case["text"]]) == events(case["html"]), case["text"]


def assert_harmless(html: str) -> None:
    for event in events(html):
        if event[0] != "text":
            assert event[1] in LEGITIMATE, event
            for attribute in event[2:]:
                name, _, value = attribute.partition("=")
                assert name in ATTRIBUTES, event
                assert name != "href" or value.lower().startswith(("https://", "http://", "mailto:", "#fn")), event


@pytest.mark.parametrize("text", ATTACKS + TEX_ATTACKS, ids=range(len(ATTACKS + TEX_ATTACKS)))
def test_a_share_contains_only_harmless_elements(text: str) -> None:
    assert_harmless(render(text))


def test_the_chat_contains_only_harmless_elements(chat_html: dict[str, str]) -> None:
    for text in ATTACKS + TEX_ATTACKS:
        assert_harmless(chat_html[text])


def test_footnotes_of_each_message_have_their_own_ids() -> None:
    assert 'id="fn7-1"' in render("x[^1]\n\n[^1]: note", 7)
    assert render("[^1]: unused") == ""


def test_user_text_is_shown_verbatim() -> None:
    assert plain("a <b>\n__x__ \\d") == '<div class="plain">a &lt;b&gt;\n__x__ \\d</div>'
