"""Markdown that strangers wrote, as HTML that is safe to show: no HTML of theirs, no image, no link that says where from.

Two guards, each enough alone: the parser takes no HTML and makes no image, and nh3 (ammonia) keeps a short list of elements.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import nh3
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token

ELEMENTS = {
    *("p", "br", "hr", "blockquote", "pre", "code", "em", "strong", "s", "a"),
    *("h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}
ATTRIBUTES = {"a": {"href", "title"}, "ol": {"start"}}
SCHEMES = {"http", "https", "mailto"}
LINK_RELATION = "nofollow noopener noreferrer"


def _image(renderer: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    """An image as a link to it: shown, it would tell its server who reads the page."""
    token = tokens[index]
    label = renderer.renderInlineAsText(token.children or [], options, env) or "image"
    link = Token("link_open", "a", 1, attrs={"href": token.attrs.get("src", "")})
    return f"{renderer.renderToken([link], 0, options, env)}{nh3.clean_text(label)}</a>"


def _make_parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    parser.add_render_rule("image", _image)
    return parser


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
    return str(_cleaner.clean(_parser.render(text)))
