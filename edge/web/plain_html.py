"""Plain text as HTML: messages of users, and answers that could not be rendered as Markdown."""

from __future__ import annotations

from html import escape


def plain(text: str) -> str:
    """Return `text` as escaped HTML that preserves whitespace."""
    return f'<div class="plain">{escape(text)}</div>'
