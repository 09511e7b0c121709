"""Renders request heads, and rejects anything that could smuggle in a second request."""

import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlsplit

from transport.http_client.types import HttpRequest

_URL = re.compile(r"[\x21-\x7e]+")
_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")
_METHOD = re.compile(r"[A-Z]+")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_OWN_HEADERS = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "keep-alive", "proxy-connection", "upgrade", "te"}
    | {"trailer", "expect", "accept-encoding"}
)
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
ADDED_HEADERS = ("host", "accept-encoding", "content-length")  # to each request with a body, see `render_head`


class Origin(NamedTuple):
    """A scheme, host and port. An IPv6 `host` has no brackets."""

    secure: bool
    host: str
    port: int


class Target(NamedTuple):
    """The origin and the first lines of the head, for a method and URL."""

    origin: Origin
    prefix: bytes


@lru_cache(maxsize=1024)
def parse_target(method: str, url: str) -> Target:
    """Parse a URL and render the request line. Raises ValueError for an invalid method or URL."""
    if not _METHOD.fullmatch(method) or method == "CONNECT":
        raise ValueError(f"unsupported method {method!r}")
    if not _URL.fullmatch(url):
        raise ValueError("the URL contains spaces, control or non-ASCII characters; percent-encode them")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise ValueError(f"unsupported URL scheme {parts.scheme!r}; use http or https")
    if "@" in parts.netloc:
        raise ValueError("the URL contains credentials; send them in a header")
    host = parts.hostname or ""
    if not _HOST.fullmatch(host):
        raise ValueError("invalid host name in the URL; use ASCII, with punycode for international names")
    secure = parts.scheme == "https"
    default_port = 443 if secure else 80
    port = default_port if parts.port is None else parts.port
    shown = f"[{host}]" if ":" in host else host
    authority = shown if port == default_port else f"{shown}:{port}"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    prefix = f"{method} {path} HTTP/1.1\r\nhost: {authority}\r\naccept-encoding: identity\r\n"
    return Target(Origin(secure, host, port), prefix.encode("ascii"))


@lru_cache(maxsize=1024)
def _header_line(name: str, value: str) -> bytes:
    """Render one header line. Cached, because a request whose headers are new still shares most of them with others."""
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"invalid header name {name!r}")
    if name.lower() in _OWN_HEADERS:
        raise ValueError(f"header {name!r} is set by the client; omit it")
    if not _VALUE.fullmatch(value):
        raise ValueError(f"the value of header {name!r} contains control or non-Latin-1 characters")
    return f"{name}: {value}\r\n".encode("latin-1")


@lru_cache(maxsize=256)
def _header_lines(headers: tuple[tuple[str, str], ...]) -> bytes:
    """Render all header lines. Cached, because most requests of a channel have the same headers."""
    return b"".join([_header_line(name, value) for name, value in headers])


def render_head(target: Target, request: HttpRequest) -> bytes:
    """Return the complete head with its empty line. Raises ValueError for invalid headers."""
    ending = b"\r\n"
    if request.body or request.method in _WITH_BODY:
        ending = b"content-length: %d\r\n\r\n" % len(request.body)
    return target.prefix + _header_lines(request.headers) + ending
