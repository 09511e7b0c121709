"""Sending: resolve, judge, connect to the very address that was judged, and read no more than was agreed."""

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

from shared.errors import OutboundFailed, OutboundRefused, OutboundTimeout
from shared.outbound.addresses import Address
from shared.outbound.target import Policy, Target, check_public_form, read_url
from shared.outbound.wire import FRAMING_BYTES, PIECE_BYTES, Deadline, PinnedConnection, TooLarge

MOST_REDIRECTS = 3
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_ADDRESSES = 4  # of one name that are tried
_HTTP_FAULTS = (OSError, http.client.HTTPException, ValueError)


@dataclass(frozen=True, slots=True)
class Limits:
    """How long an exchange may last and be silent, in seconds; connecting counts as silence."""

    total_seconds: float = 120
    idle_seconds: float = 20


class Reply:
    """An answer whose body is yet to be read: once, by iterating or by `read`. Header names are in lower case."""

    def __init__(self, url: str, response: http.client.HTTPResponse, max_bytes: int) -> None:
        self.url = url
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self._response = response
        self._max_bytes = max_bytes

    def read(self) -> bytes:
        """The whole body. Raises `OutboundFailed` when it is too large, broken off or compressed."""
        return b"".join(self)

    def __iter__(self) -> Iterator[bytes]:
        self._check_encoding()
        promised = self._response.length  # None where the server does not say
        if promised is not None and promised > self._max_bytes:
            raise OutboundFailed(f"The answer is larger than {self._max_bytes} bytes.")
        count = 0
        while piece := _read(self._response):
            count += len(piece)
            if count > self._max_bytes:
                raise OutboundFailed(f"The answer is larger than {self._max_bytes} bytes.")
            yield piece
        if promised is not None and count < promised:
            raise OutboundFailed("The answer broke off.")

    def _check_encoding(self) -> None:
        # None was accepted: unpacking would give a server a way to make much of little.
        if self.headers.get("content-encoding", "identity").lower() != "identity":
            raise OutboundFailed("The answer is compressed, which was not accepted.")


class Outbound:
    """A guarded client. Holds no connections; safe to share between threads.

    `trusted` are URLs whose origin staff chose (a channel's base URL): they may be private, as long as no redirect leads there
    from elsewhere. Every method raises `OutboundRefused` for what must not be sought, `OutboundFailed` (and its kind
    `OutboundTimeout`) when it was and gave no answer; their messages name no address.
    """

    def __init__(self, policy: Policy, trusted: tuple[str, ...] = ()) -> None:
        self._policy = policy
        self._trusted = frozenset(read_url(url).origin for url in trusted)

    @contextmanager
    def get(
        self, url: str, *, max_bytes: int, headers: Mapping[str, str] | None = None, limits: Limits = Limits()
    ) -> Iterator[Reply]:
        """Fetch, following up to three redirects. `headers` go to the first origin only."""
        deadline = Deadline(limits.total_seconds, limits.idle_seconds)
        target, sent = read_url(url), dict(headers or {})
        trusted = target.origin in self._trusted
        for _ in range(MOST_REDIRECTS + 1):
            with self._exchange(target, "GET", None, sent, deadline, trusted, max_bytes) as response:
                if response.status not in _REDIRECTS:
                    yield Reply(target.url, response, max_bytes)
                    return
                following = _redirect(target, response.headers.get("location"))
            if following.origin != target.origin:
                sent, trusted = {}, False
            target = following
        raise OutboundFailed(f"The address redirects more than {MOST_REDIRECTS} times.")

    @contextmanager
    def post(
        self, url: str, body: bytes, *, max_bytes: int, headers: Mapping[str, str] | None = None, limits: Limits = Limits()
    ) -> Iterator[Reply]:
        """Send `body`. A redirect is an answer like any other: it is not followed."""
        target = read_url(url)
        deadline = Deadline(limits.total_seconds, limits.idle_seconds)
        trusted = target.origin in self._trusted
        with self._exchange(target, "POST", body, dict(headers or {}), deadline, trusted, max_bytes) as response:
            yield Reply(target.url, response, max_bytes)

    @contextmanager
    def _exchange(
        self,
        target: Target,
        method: str,
        body: bytes | None,
        headers: dict[str, str],
        deadline: Deadline,
        trusted: bool,
        max_bytes: int,
    ) -> Iterator[http.client.HTTPResponse]:
        addresses = self._judged(target, trusted)
        connection = _connected(target, addresses, deadline, max_bytes + max_bytes // 8 + FRAMING_BYTES)
        try:
            with _told():
                sent = {"host": target.authority, "accept-encoding": "identity", "user-agent": "yout", "connection": "close"}
                connection.request(method, target.path, body, sent | {name.lower(): value for name, value in headers.items()})
                response = connection.getresponse()
            yield response
        finally:
            connection.hang_up()

    def _judged(self, target: Target, trusted: bool) -> list[Address]:
        """The addresses of the target's host that may be used, one at least. Raises `OutboundRefused`."""
        literal = target.literal
        if not trusted and literal is None and not self._policy.networks:
            check_public_form(target, self._policy)  # so that no name is resolved in vain
        found = [literal] if literal is not None else _resolved(target)
        allowed = found if trusted else [address for address in found if self._policy.allows(address, target)]
        if not allowed:
            raise OutboundRefused("The URL leads to an address or port that may not be used.")
        return allowed[:_MOST_ADDRESSES]


def _resolved(target: Target) -> list[Address]:
    """All addresses of a name. The system's resolver bounds the time itself."""
    try:
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise OutboundFailed("The URL's host has no address.") from None
    return list(dict.fromkeys(ip_address(entry[4][0]) for entry in found))


def _connected(target: Target, addresses: list[Address], deadline: Deadline, max_bytes: int) -> PinnedConnection:
    """A connection to the first of the addresses that takes one."""
    tls = _tls() if target.scheme == "https" else None
    failure: Exception = OutboundFailed()
    for address in addresses:
        connection = PinnedConnection(target.host, address, target.port, tls, deadline, max_bytes)
        try:
            with _told():
                connection.connect()
        except OutboundFailed as error:
            connection.hang_up()
            failure = error
        else:
            return connection
    raise failure


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _redirect(target: Target, location: str | None) -> Target:
    if not location:
        raise OutboundFailed("The address redirects to nowhere.")
    # Header bytes come as Latin-1; addresses are UTF-8.
    following = read_url(urljoin(target.url, location.encode("latin-1").decode("utf-8", "replace")))
    if target.scheme == "https" and following.scheme == "http":
        raise OutboundRefused("The address redirects from https to http.")
    return following


def _read(response: http.client.HTTPResponse) -> bytes:
    with _told():
        return response.read(PIECE_BYTES)


@contextmanager
def _told() -> Iterator[None]:
    """Faults of network and protocol as ours, without their words: those name addresses."""
    try:
        yield
    except TimeoutError as error:
        raise OutboundTimeout from error
    except TooLarge as error:
        raise OutboundFailed("The answer exceeds the size limit.") from error
    except ssl.SSLCertVerificationError as error:
        raise OutboundFailed("The address has no valid certificate.") from error
    except _HTTP_FAULTS as error:
        raise OutboundFailed from error
