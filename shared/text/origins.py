"""Same-origin check of a browser's request, by its `Origin` and `Sec-Fetch-Site` headers. Pure."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

import idna

_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def is_cross_origin(origin: str, fetch_site: str, hosts: Collection[str]) -> bool:
    """Return whether the headers ("" if missing) show a page of a site other than `hosts` (`host` or `host:port`).

    A request without both headers does not come from a browser page, so no page can forge it. The scheme is not compared,
    because it is unknown behind a proxy that terminates TLS.
    """
    if not origin:
        return fetch_site not in ("", "same-origin", "none")
    scheme, _, host = origin.lower().partition("://")
    port = _DEFAULT_PORTS.get(scheme, "")
    return _without(host, port) not in {_without(own.lower(), port) for own in hosts if own}


def host_of(url: str) -> str:
    """Return the host and port of a URL, or ""."""
    return urlsplit(url).netloc


def normalize_origin(text: str) -> str:
    """Return an origin as browsers send it: lower case, ASCII host, no default port (RFC 6454, section 6.2).

    Returns "" for anything other than a scheme and a host with an optional port.
    """
    text = text.lower()
    try:
        parts = urlsplit(text)
        port, host = parts.port, parts.hostname or ""
        if parts.scheme not in _DEFAULT_PORTS or not host or set("@*") & set(text) or text != f"{parts.scheme}://{parts.netloc}":
            return ""
        host = f"[{host}]" if ":" in host else idna.encode(host, uts46=True).decode() if not host.isascii() else host
    except ValueError:
        return ""
    own_port = "" if port is None else f":{port}"
    return f"{parts.scheme}://{_without(host + own_port, _DEFAULT_PORTS[parts.scheme])}"


def _without(host: str, port: str) -> str:
    return host.removesuffix(port) if port else host
