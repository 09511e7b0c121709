"""Markdown that strangers wrote, as HTML that is safe to show: no HTML of theirs, no image, no link that says where from.

Two guards, each enough alone: the parser takes no HTML and makes no image, and nh3 (ammonia) keeps a short list of elements.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from typing import Any

import nh3
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

ELEMENTS = {
    *("p", "br", "hr", "blockquote", "pre", "code", "em", "strong", "s", "a"),
    *("h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}
ATTRIBUTES = {"a": {"href", "title"}, "ol": {"start"}}
SCHEMES = {"http", "https", "mailto"}
_TEX = {"\\(": "\\)", "\\[": "\\]", "$$": "$$"}
_NAME = re.compile(r"__[A-Za-z0-9]+__(?![A-Za-z0-9_])")
LINK_RELATION = "nofollow noopener noreferrer"


def _image(renderer: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    """An image as a link to it: shown, it would tell its server who reads the page."""
    token = tokens[index]
    label = renderer.renderInlineAsText(token.children or [], options, env) or "image"
    link = Token("link_open", "a", 1, attrs={"href": token.attrs.get("src", "")})
    return f"{renderer.renderToken([link], 0, options, env)}{nh3.clean_text(label)}</a>"


def _verbatim(state: StateInline, silent: bool) -> bool:
    """Text without markup: TeX in its delimiters, and names such as `__init__`."""
    found = _NAME.match(state.src, state.pos)
    if found is not None and state.pos > 0 and (state.src[state.pos - 1].isalnum() or state.src[state.pos - 1] == "_"):
        found = None
    end = found.end() if found is not None else _end_of_tex(state)
    if end < 0:
        return False
    if not silent:
        for number, line in enumerate(state.src[state.pos : end].split("\n")):
            if number:
                state.push("hardbreak", "br", 0)
            state.push("text", "", 0).content = line
    state.pos = end
    return True


def _end_of_tex(state: StateInline) -> int:
    """The end of the TeX that begins here, or -1. A closing delimiter that was not found once is not searched again."""
    close = _TEX.get(state.src[state.pos : state.pos + 2])
    missing = state.env.setdefault("missing", {})
    if close is None or missing.get(close) is state.src:
        return -1
    end = state.src.find(close, state.pos + 2)
    if end < 0:
        missing[close] = state.src
        return -1
    return end + len(close)


def _make_parser() -> MarkdownIt:
    """Markdown rendered like in the chat (`static/markdown.js`): line breaks and backslashes are kept."""
    parser = (
        MarkdownIt("commonmark", {"html": False, "breaks": True}).enable(["table", "strikethrough"]).disable(["escape", "code"])
    )
    parser.inline.ruler.before("escape", "verbatim", _verbatim)
    parser.add_render_rule("image", _image)
    return parser


def plain(text: str) -> str:
    """`text` escaped as HTML, to be shown with its white space."""
    return f'<div class="plain">{escape(text)}</div>'


_parser = _make_parser()
_cleaner = nh3.Cleaner(
    tags=ELEMENTS,
    attributes=ATTRIBUTES,
    url_schemes=SCHEMES,
    link_rel=LINK_RELATION,
    generic_attribute_prefixes=set(),
    strip_comments=True,
)


def render(text: str) -> str:
    """`text` as HTML, of `ELEMENTS` alone."""
    return str(_cleaner.clean(_parser.render(text, {})))
