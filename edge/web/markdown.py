"""Renders untrusted Markdown as safe HTML, by the same rules as the chat (`static/markdown_rules.js`).

Two independent safeguards: the parser rejects HTML, images and unknown links, and nh3 (ammonia) only keeps the elements in
`ELEMENTS` with the attributes in `ATTRIBUTES`.

The rules are CommonMark with tables, strikethrough, task lists, footnotes, bare links and TeX between `$`, `$$`, `\\(` or `\\[`.
In addition, line breaks are kept, backslashes and indented lines are text, and names such as `__init__` are not bold.
`tests/markdown_cases.json` is the list of cases that both renderers must pass.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import nh3
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_block import StateBlock
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from mdit_py_plugins.footnote import footnote_plugin

ELEMENTS = {
    *("p", "br", "hr", "blockquote", "pre", "code", "em", "strong", "s", "a", "sup"),
    *("h3", "h4", "h5", "h6", "ul", "ol", "li", "div", "figure", "figcaption", "section"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}
ATTRIBUTES = {
    "*": {"dir"},
    "a": {"href", "title", "id"},
    "code": {"class"},
    "div": {"class", "tabindex"},
    "figure": {"class"},
    "li": {"class", "id"},
    "ol": {"start"},
    "p": {"class"},
    "pre": {"tabindex"},
    "section": {"class"},
    "td": {"align"},
    "th": {"align"},
}
_VALUES = {
    "class": re.compile(r"math( display)?|task|table|code|footnotes|language-[\w+#.-]{1,30}"),
    "href": re.compile(r"(https?://|mailto:|#fn).*", re.IGNORECASE | re.DOTALL),
    "id": re.compile(r"fn(ref)?[\w:-]+"),
}
LINK_RELATION = "nofollow noopener noreferrer"
MAX_TEX_CHARACTERS = 4_000  # the end of TeX is searched only this far, which bounds the time for text with many delimiters
HEADING_OFFSET = 2  # a page's title and each message's heading are above the headings in messages
_SAFE_LINK = re.compile(r"https?://|mailto:", re.IGNORECASE)
_NAME = re.compile(r"__[A-Za-z0-9]+__(?![A-Za-z0-9_])")
_LANGUAGE = re.compile(r"[A-Za-z0-9_+#.-]{1,30}")
_TASK = re.compile(r"\[([ xX])\] ")
_REST_OF_LINE = re.compile(r"[^\S\n]*$", re.MULTILINE)
_TEX = {"\\(": "\\)", "\\[": "\\]", "$$": "$$"}
_BIDI_BLOCKS = {"paragraph_open", "heading_open", "bullet_list_open", "ordered_list_open", "blockquote_open"}


def _name(state: StateInline, silent: bool) -> bool:
    """Match a name such as `__init__`, which is not bold."""
    found = _NAME.match(state.src, state.pos)
    if found is None or (state.pos > 0 and _is_word(state.src[state.pos - 1])):
        return False
    if not silent:
        state.push("text", "", 0).content = found[0]
    state.pos = found.end()
    return True


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def _inline_math(state: StateInline, silent: bool) -> bool:
    """Match TeX inside a paragraph."""
    opening = state.src[state.pos : state.pos + 2]
    closing = _TEX.get(opening)
    if closing is not None:
        start = state.pos + 2
        end = state.src.find(closing, start, start + MAX_TEX_CHARACTERS)
        after = end + 2
    elif opening[:1] == "$":
        closing, start = "$", state.pos + 1
        end = _end_of_dollars(state.src, state.pos)
        after = end + 1
    else:
        return False
    if end < 0 or not state.src[start:end].strip():
        return False
    if not silent:
        token = state.push("math", "code", 0)
        token.content = state.src[start:end].strip()
        token.meta = {"display": opening in ("$$", "\\[")}
    state.pos = after
    return True


def _end_of_dollars(text: str, start: int) -> int:
    """Return the end of TeX between single dollars, or -1 for prices and variables, such as `$5 and $10` or `$A/$B`."""
    if start > 0 and (_is_word(text[start - 1]) or text[start - 1] in "$\\"):
        return -1
    end = text.find("$", start + 1, start + MAX_TEX_CHARACTERS)
    if end < 0 or "\n" in text[start:end] or text[start + 1].isspace() or text[end - 1].isspace() or text[end - 1] == "\\":
        return -1
    return -1 if end + 1 < len(text) and (_is_word(text[end + 1]) or text[end + 1] == "$") else end


def _block_math(state: StateBlock, first: int, last: int, silent: bool) -> bool:
    """Match TeX on lines of its own. It may contain blank lines, and lines that look like lists or headings."""
    start = state.bMarks[first] + state.tShift[first]
    closing = _TEX.get(state.src[start : start + 2])
    if closing is None or closing == "\\)":
        return False
    end = state.src.find(closing, start + 2, start + MAX_TEX_CHARACTERS)
    if end < 0 or _REST_OF_LINE.match(state.src, end + 2) is None:
        return False
    lines = []
    for line in range(first, last):
        if line > first and state.sCount[line] < state.blkIndent and state.bMarks[line] < state.eMarks[line]:
            return False
        begin = start + 2 if line == first else state.bMarks[line] + min(state.tShift[line], state.blkIndent)
        lines.append(state.src[begin : min(state.eMarks[line], max(begin, end))])
        if end <= state.eMarks[line]:
            break
    else:
        return False
    content = "\n".join(lines).strip()
    if content and not silent:
        token = state.push("math_block", "p", 0)
        token.content, token.map = content, [first, line + 1]
        state.line = line + 1
    return bool(content)


def _annotate(state: StateCore) -> None:
    """Set the direction of blocks, the alignment of cells, the marks of task lists, and which images are inside links."""
    tokens = state.tokens
    for index, token in enumerate(tokens):
        if token.children:
            _mark_linked_images(token.children)
        if token.type in _BIDI_BLOCKS and token.level == 0:
            token.attrSet("dir", "auto")
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(int(token.tag[1]) + HEADING_OFFSET, 6)}"
        if token.type in ("th_open", "td_open"):
            style = str(token.attrs.pop("style", ""))
            token.attrSet("dir", "auto")
            if style:
                token.attrSet("align", style.partition(":")[2])
        if token.type == "list_item_open" and tokens[index + 1].type == "paragraph_open":
            _mark_task(token, tokens[index + 2])


def _mark_linked_images(tokens: Sequence[Token]) -> None:
    depth = 0
    for token in tokens:
        depth += (token.type == "link_open") - (token.type == "link_close")
        if token.type == "image":
            token.meta = {"linked": depth > 0}


def _mark_task(item: Token, inline: Token) -> None:
    children = inline.children or []
    found = _TASK.match(children[0].content) if children and children[0].type == "text" else None
    if found is not None:
        item.attrSet("class", "task")
        children[0].content = f"{'☐' if found[1] == ' ' else '☑'} {children[0].content[found.end() :]}"


def _render_image(renderer: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    """Render an image as a link: loading it would reveal the reader's address to its server."""
    token = tokens[index]
    label = escape(renderer.renderInlineAsText(token.children or [], options, env) or "image")
    return label if token.meta["linked"] else f'<a href="{escape(str(token.attrs.get("src", "")))}">{label}</a>'


def _render_fence(_: RendererHTML, tokens: Sequence[Token], index: int, *__: Any) -> str:
    token = tokens[index]
    language = _LANGUAGE.match(token.info.strip())
    name = language[0] if language else "text"
    code = escape(token.content, quote=False)
    return (
        f'<figure class="code"><figcaption>{name}</figcaption>'
        f'<pre dir="ltr" tabindex="0"><code class="language-{name}">{code}</code></pre></figure>\n'
    )


def _render_math(_: RendererHTML, tokens: Sequence[Token], index: int, *__: Any) -> str:
    token = tokens[index]
    kind = "math display" if token.meta["display"] else "math"
    return f'<code class="{kind}" dir="ltr">{escape(token.content, quote=False)}</code>'


def _render_math_block(_: RendererHTML, tokens: Sequence[Token], index: int, *__: Any) -> str:
    return f'<p class="math"><code class="math display" dir="ltr">{escape(tokens[index].content, quote=False)}</code></p>\n'


def _footnote_number(token: Token) -> tuple[str, str]:
    number, again = str(token.meta["id"] + 1), token.meta.get("subId", 0)
    return number, f"{number}:{again}" if again else number


def _render_footnote_ref(_: RendererHTML, tokens: Sequence[Token], index: int, __: Any, env: Any) -> str:
    number, reference = _footnote_number(tokens[index])
    message = env.get("message", "")
    return f'<sup><a href="#fn{message}-{number}" id="fnref{message}-{reference}">[{number}]</a></sup>'


def _render_footnote_open(_: RendererHTML, tokens: Sequence[Token], index: int, __: Any, env: Any) -> str:
    return f'<li id="fn{env.get("message", "")}-{_footnote_number(tokens[index])[0]}">'


def _render_footnote_anchor(_: RendererHTML, tokens: Sequence[Token], index: int, __: Any, env: Any) -> str:
    return f' <a href="#fnref{env.get("message", "")}-{_footnote_number(tokens[index])[1]}">↩</a>'


def _make_parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "breaks": True, "linkify": True, "xhtmlOut": False})
    parser.enable(["table", "strikethrough", "linkify"]).disable(["escape", "code"]).use(footnote_plugin)
    parser.validateLink = lambda url: _SAFE_LINK.match(url) is not None  # type: ignore[method-assign]
    if parser.linkify is not None:
        parser.linkify.set({"fuzzy_link": False, "fuzzy_email": False, "fuzzy_ip": False})
    parser.inline.ruler.before("escape", "name", _name)
    parser.inline.ruler.before("escape", "math", _inline_math)
    parser.block.ruler.before("fence", "math_block", _block_math, {"alt": ["paragraph", "reference", "blockquote", "list"]})
    parser.core.ruler.push("annotate", _annotate)
    rules: dict[str, Callable[..., str]] = {
        "image": _render_image,
        "fence": _render_fence,
        "math": _render_math,
        "math_block": _render_math_block,
        "table_open": lambda *_: '<div class="table" tabindex="0"><table>\n',
        "table_close": lambda *_: "</table></div>\n",
        "footnote_block_open": lambda *_: '<section class="footnotes"><ol>\n',
        "footnote_block_close": lambda *_: "</ol></section>\n",
        "footnote_ref": _render_footnote_ref,
        "footnote_open": _render_footnote_open,
        "footnote_anchor": _render_footnote_anchor,
    }
    for name, rule in rules.items():
        parser.add_render_rule(name, rule)
    return parser


def _check_value(_: str, attribute: str, value: str) -> str | None:
    pattern = _VALUES.get(attribute)
    return value if pattern is None or pattern.fullmatch(value) else None


_parser = _make_parser()
_cleaner = nh3.Cleaner(
    tags=ELEMENTS,
    attributes=ATTRIBUTES,
    attribute_filter=_check_value,
    url_schemes={"http", "https", "mailto"},
    link_rel=LINK_RELATION,
    generic_attribute_prefixes=set(),
    strip_comments=True,
)


def render(text: str, message: int = 1) -> str:
    """Render `text` as HTML with only the elements in `ELEMENTS`. `message` is its number on the page, for ids."""
    return str(_cleaner.clean(_parser.render(text, {"message": str(message)})))
