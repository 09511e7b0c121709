"""Redirects to a page that a request names. Pure."""

from __future__ import annotations

from urllib.parse import urlsplit


def safe_redirect(text: str | None, fallback: str) -> str:
    """Return where to redirect to: `text` if it is a path of this site, else `fallback`.

    Browsers read a backslash as a slash and drop control characters, so `/\\evil.example` and `/<tab>/evil.example` are
    external.
    """
    if not text or not text.startswith("/") or text.startswith("//") or "\\" in text or not text.isprintable():
        return fallback
    parts = urlsplit(text)
    return fallback if parts.scheme or parts.netloc else text


def referring_path(referer: str, host: str, fallback: str = "/") -> str:
    """Return the path and query of the page of `host` that sent a request, or `fallback` if another site or no page did."""
    try:
        parts = urlsplit(referer)
    except ValueError:
        return fallback
    if parts.netloc != host:
        return fallback
    return safe_redirect(f"{parts.path}?{parts.query}" if parts.query else parts.path, fallback)
