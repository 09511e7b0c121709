"""Sends requests: resolves and checks the host, connects to the checked address, and limits what is read."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address
from urllib.parse import urljoin

from shared.core.errors import OutboundFailed, OutboundRefused, OutboundTimeout, OutboundTooLarge
from shared.safe_http.addresses import Address
from shared.safe_http.bounded_socket import MAX_FRAMING_BYTES, READ_BYTES, Deadline, PinnedConnection, ResponseTooLarge
from shared.safe_http.url_check import OutboundPolicy, ParsedUrl, check_scheme_and_port, parse_url

MAX_REDIRECTS = 3
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
ADDED_HEADERS = ("host", "accept-encoding", "user-agent", "connection", "content-length")  # to each POST
_MAX_ADDRESSES = 4  # maximum addresses to try per host
_HTTP_FAULTS = (OSError, http.client.HTTPException, ValueError)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Timeouts in seconds: for the whole exchange, and for each wait without data, including connecting."""

    total_seconds: float = 120
    idle_seconds: float = 20


class Response:
    """A response whose body can be read once, by iterating or by `read`. Header names are in lower case."""

    def __init__(self, url: str, response: http.client.HTTPResponse, max_bytes: int) -> None:
        self.url = url
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self._response = response
        self._max_bytes = max_bytes

    def read(self) -> bytes:
        """Return the whole body. Raises `OutboundTooLarge`, and `OutboundFailed` if it is incomplete or compressed."""
        return b"".join(self)

    def __iter__(self) -> Iterator[bytes]:
        self._check_encoding()
        promised = self._response.length  # None without Content-Length
        if promised is not None and promised > self._max_bytes:
            raise OutboundTooLarge(f"The response is larger than {self._max_bytes} bytes.")
        count = 0
        while piece := _read(self._response):
            count += len(piece)
            if count > self._max_bytes:
                raise OutboundTooLarge(f"The response is larger than {self._max_bytes} bytes.")
            yield piece
        if promised is not None and count < promised:
            raise OutboundFailed("The response is incomplete.")

    def _check_encoding(self) -> None:
        # We accept no compression: a small response could expand to a huge one.
        if self.headers.get("content-encoding", "identity").lower() != "identity":
            raise OutboundFailed("The response is compressed, which is not allowed.")


class SafeHttpClient:
    """A guarded HTTP client. Keeps no connections; safe to share between threads.

    `trusted` are URLs whose origins staff chose (a channel's base URL). They may be private, unless a redirect from elsewhere
    leads there. Methods raise `OutboundRefused` if the URL is not allowed, and `OutboundFailed` (or its subclass
    `OutboundTimeout`) if the request failed. Messages contain no address.
    """

    def __init__(self, policy: OutboundPolicy, trusted: tuple[str, ...] = ()) -> None:
        self._policy = policy
        self._trusted = frozenset(parse_url(url).origin for url in trusted)

    @contextmanager
    def get(
        self, url: str, *, max_bytes: int, headers: Mapping[str, str] | None = None, limits: Timeouts = Timeouts()
    ) -> Iterator[Response]:
        """Fetch a URL and follow up to three redirects. `headers` are sent to the first origin only."""
        deadline = Deadline(limits.total_seconds, limits.idle_seconds)
        target, sent = parse_url(url), dict(headers or {})
        trusted = target.origin in self._trusted
        for _ in range(MAX_REDIRECTS + 1):
            with self._exchange(target, "GET", None, sent, deadline, trusted, max_bytes) as response:
                if response.status not in _REDIRECTS:
                    yield Response(target.url, response, max_bytes)
                    return
                following = _redirect(target, response.headers.get("location"))
            if following.origin != target.origin:
                sent, trusted = {}, False
            target = following
        raise OutboundFailed(f"The address redirects more than {MAX_REDIRECTS} times.")

    @contextmanager
    def post(
        self, url: str, body: bytes, *, max_bytes: int, headers: Mapping[str, str] | None = None, limits: Timeouts = Timeouts()
    ) -> Iterator[Response]:
        """Send `body`. Redirects are not followed."""
        target = parse_url(url)
        deadline = Deadline(limits.total_seconds, limits.idle_seconds)
        trusted = target.origin in self._trusted
        with self._exchange(target, "POST", body, dict(headers or {}), deadline, trusted, max_bytes) as response:
            yield Response(target.url, response, max_bytes)

    @contextmanager
    def _exchange(
        self,
        target: ParsedUrl,
        method: str,
        body: bytes | None,
        headers: dict[str, str],
        deadline: Deadline,
        trusted: bool,
        max_bytes: int,
    ) -> Iterator[http.client.HTTPResponse]:
        addresses = self._allowed_addresses(target, trusted)
        connection = _connected(target, addresses, deadline, max_bytes + max_bytes // 8 + MAX_FRAMING_BYTES)
        try:
            with _translated_errors():
                sent = {"host": target.authority, "accept-encoding": "identity", "user-agent": "yout", "connection": "close"}
                connection.request(method, target.path, body, sent | {name.lower(): value for name, value in headers.items()})
                response = connection.getresponse()
            yield response
        finally:
            connection.disconnect()

    def _allowed_addresses(self, target: ParsedUrl, trusted: bool) -> list[Address]:
        """Return the allowed addresses of the target's host. Raises `OutboundRefused` if there are none."""
        literal = target.ip_literal
        if not trusted and literal is None and not self._policy.networks:
            check_scheme_and_port(target, self._policy)  # avoids a useless DNS query
        found = [literal] if literal is not None else _resolved(target)
        allowed = found if trusted else [address for address in found if self._policy.allows(address, target)]
        if not allowed:
            raise OutboundRefused("Requests to this URL's address or port are not allowed.")
        return allowed[:_MAX_ADDRESSES]


def _resolved(target: ParsedUrl) -> list[Address]:
    """Return all addresses of a host name. The system's resolver has its own timeout."""
    try:
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise OutboundFailed("The URL's host name cannot be resolved.") from None
    return list(dict.fromkeys(ip_address(entry[4][0]) for entry in found))


def _connected(target: ParsedUrl, addresses: list[Address], deadline: Deadline, max_bytes: int) -> PinnedConnection:
    """Connect to the first address that accepts a connection."""
    tls = _tls() if target.scheme == "https" else None
    failure: Exception = OutboundFailed()
    for address in addresses:
        connection = PinnedConnection(target.host, address, target.port, tls, deadline, max_bytes)
        try:
            with _translated_errors():
                connection.connect()
        except OutboundFailed as error:
            connection.disconnect()
            failure = error
        else:
            return connection
    raise failure


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _redirect(target: ParsedUrl, location: str | None) -> ParsedUrl:
    if not location:
        raise OutboundFailed("The address sent a redirect without a location.")
    # `http.client` decodes headers as Latin-1, but URLs in them may be UTF-8.
    following = parse_url(urljoin(target.url, location.encode("latin-1").decode("utf-8", "replace")))
    if target.scheme == "https" and following.scheme == "http":
        raise OutboundRefused("The address redirects from https to http.")
    return following


def _read(response: http.client.HTTPResponse) -> bytes:
    with _translated_errors():
        return response.read(READ_BYTES)


@contextmanager
def _translated_errors() -> Iterator[None]:
    """Translate network and protocol errors to ours, without their messages, which contain addresses."""
    try:
        yield
    except TimeoutError as error:
        raise OutboundTimeout from error
    except ResponseTooLarge as error:
        raise OutboundTooLarge("The response exceeds the size limit.") from error
    except ssl.SSLCertVerificationError as error:
        raise OutboundFailed("The address has no valid TLS certificate.") from error
    except _HTTP_FAULTS as error:
        raise OutboundFailed from error
