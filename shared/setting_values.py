"""Parsers for setting values. Pure. Each raises `ValueError`, whose message follows the setting's name in a sentence."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_QUOTES = "\"'`“”‘’"
LOG_LEVELS = ("debug", "info", "warning", "error")


def plain(text: str, *, exact: bool) -> str:
    """A value without surrounding white space. With `exact` such white space is refused, for values such as secrets.

    Quotes and control characters are refused: they come from copying out of a dashboard, or from a file format in which quotes
    are not part of the value.
    """
    value = text.strip()
    if exact and value != text:
        raise ValueError("begins or ends with white space or a line break; remove it")
    if value[0] in _QUOTES or value[-1] in _QUOTES:
        raise ValueError("begins or ends with a quotation mark, which would be part of the value; remove it")
    if not value.isprintable():
        raise ValueError("has a line break or another control character in it; remove it")
    return value


def split_address(text: str) -> SplitResult:
    """`urlsplit`, whose own errors quote the whole address with its password."""
    try:
        return urlsplit(text)
    except ValueError:
        raise ValueError("cannot be read; write special characters of its password as %XX") from None


def is_host_name(text: str) -> bool:
    """Whether a name can be looked up: without empty labels, and none over 63 characters."""
    try:
        text.encode("idna")  # as `socket` does, which raises the same `UnicodeError` much later
    except UnicodeError:
        return False
    return True


def bind_host(text: str) -> str:
    """An IP address without brackets, or a host name."""
    host = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        ip_address(host)
    except ValueError:
        if not _HOST_NAME.fullmatch(host) or not is_host_name(host):
            raise ValueError("must be an address to listen on, such as 0.0.0.0 or ::, without a scheme or port") from None
    return host


def log_level(text: str) -> str:
    """One of `LOG_LEVELS`, in any case."""
    if text.lower() not in LOG_LEVELS:
        raise ValueError(f"must be {', '.join(LOG_LEVELS[:-1])} or {LOG_LEVELS[-1]}")
    return text.lower()


def web_address(example: str) -> Callable[[str], str]:
    """A parser for `http://` and `https://` URLs, which removes a trailing slash."""

    def parse(text: str) -> str:
        parts = split_address(text)
        try:
            port_is_wrong = parts.port == 0
        except ValueError:
            port_is_wrong = True
        unwanted = parts.username is not None or parts.query or parts.fragment or " " in text
        if (
            parts.scheme not in ("http", "https")
            or not parts.hostname
            or unwanted
            or port_is_wrong
            or not is_host_name(parts.hostname)
        ):
            raise ValueError(f"must be an address such as {example}, with its scheme and without a user or a query")
        return text.rstrip("/")

    return parse


def authority(host: str, port: int) -> str:
    """`host:port`, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
