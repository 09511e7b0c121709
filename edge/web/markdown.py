"""Renders untrusted Markdown as safe HTML: no raw HTML, no images, no referrer on links.

Two independent safeguards: the parser rejects HTML and images, and nh3 (ammonia) only keeps the elements in `ELEMENTS`.
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
    """Render an image as a link: loading it would reveal the reader to its server."""
    token = tokens[index]
    label = renderer.renderInlineAsText(token.children or [], options, env) or "image"
    link = Token("link_open", "a", 1, attrs={"href": token.attrs.get("src", "")})
    return f"{renderer.renderToken([link], 0, options, env)}{nh3.clean_text(label)}</a>"


def _verbatim(state: StateInline, silent: bool) -> bool:
    """Match text that is not Markdown: TeX between its delimiters, and names such as `__init__`."""
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
    """Return the end of the TeX that starts here, or -1. A missing closing delimiter is searched only once."""
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
    """Return a parser that renders like the chat (`static/markdown.js`): it keeps line breaks and backslashes."""
    parser = (
        MarkdownIt("commonmark", {"html": False, "breaks": True}).enable(["table", "strikethrough"]).disable(["escape", "code"])
    )
    parser.inline.ruler.before("escape", "verbatim", _verbatim)
    parser.add_render_rule("image", _image)
    return parser


def plain(text: str) -> str:
    """Return `text` as escaped HTML that preserves whitespace."""
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
    """Render `text` as HTML with only the elements in `ELEMENTS`."""
    return str(_cleaner.clean(_parser.render(text, {})))
