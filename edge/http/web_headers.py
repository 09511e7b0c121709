"""Headers of browsers: cookies, origin and CSRF token. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_NAMES = (b"cookie", b"user-agent", b"host", b"origin", b"sec-fetch-site", b"x-csrf-token", b"x-forwarded-for")
_LISTS = {b"cookie": "; ", b"x-forwarded-for": ", "}


class WebHeaders(NamedTuple):
    """The headers of a request without an API key; "" for a missing one."""

    cookie: str
    user_agent: str
    host: str
    origin: str
    fetch_site: str
    csrf_token: str
    forwarded_for: str


def read_web_headers(scope: dict[str, Any]) -> WebHeaders:
    """Return the last value of each header, and all values of list headers.

    HTTP/2 may split cookies over several headers (RFC 9113, section 8.2.3), and each proxy may add an `X-Forwarded-For`.
    """
    found = dict.fromkeys(_NAMES, "")
    for name, value in scope["headers"]:
        if name in found:
            separator = _LISTS.get(name) if found[name] else None
            text = value.decode("latin-1")
            found[name] = text if separator is None else f"{found[name]}{separator}{text}"
    return WebHeaders(*found.values())


def cookie_value(header: str, name: str) -> str:
    """Return a cookie's value from a `Cookie` header (RFC 6265, section 4.2.1), or "" if it is missing."""
    for pair in header.split(";"):
        found, _, value = pair.strip().partition("=")
        if found == name:
            return value
    return ""
