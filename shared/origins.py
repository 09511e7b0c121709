"""Whether a browser's request came from a page of ours, by its `Origin` and `Sec-Fetch-Site` headers. Pure."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def is_foreign(origin: str, fetch_site: str, hosts: Collection[str]) -> bool:
    """Whether the headers ("" for one that is missing) name a page of another site than `hosts` (`host` or `host:port`).

    Programs that send neither header have no page that could have been tricked. The scheme is not compared: where a proxy ends
    TLS, only it knows.
    """
    if not origin:
        return fetch_site not in ("", "same-origin", "none")
    scheme, _, host = origin.lower().partition("://")
    port = _DEFAULT_PORTS.get(scheme, "")
    return _without(host, port) not in {_without(own.lower(), port) for own in hosts if own}


def host_of(url: str) -> str:
    """The host and port of a URL, "" for none."""
    return urlsplit(url).netloc


def _without(host: str, port: str) -> str:
    return host.removesuffix(port) if port else host
