"""Headers of API calls: the key, limits, idempotency and addresses. Pure."""

from __future__ import annotations

import hashlib
from email.utils import formatdate
from typing import Any
from urllib.parse import quote

from msgspec import Struct

from shared.catalog.snapshot import Alias
from shared.core.errors import InsufficientCredits, InvalidRequest
from shared.ledger import Claim

Scope = dict[str, Any]
MAX_IDEMPOTENCY_KEY_LENGTH = 255


class ApiHeaders(Struct, frozen=True, gc=False):
    """The headers of an API request."""

    authorization: bytes | None
    x_api_key: bytes | None
    content_length: bytes | None
    idempotency_key: bytes | None
    max_credits: bytes | None
    forwarded_for: bytes | None
    content_encoding: bytes | None
    origin: bytes | None
    tag: bytes | None
    retry_count: bytes | None
    safe_retries: bytes | None

    @property
    def has_key(self) -> bool:
        """Whether the request has a header for an API key."""
        return self.authorization is not None or self.x_api_key is not None

    @property
    def is_retryable(self) -> bool:
        """Whether the client numbers its attempts, or decided how retries are handled, and sends a key."""
        return (self.retry_count is not None or self.safe_retries is not None) and self.has_key


_NAMES = (
    *(b"authorization", b"x-api-key", b"content-length", b"idempotency-key", b"x-yout-max-credits", b"x-forwarded-for"),
    *(b"content-encoding", b"origin", b"x-yout-tag", b"x-stainless-retry-count", b"x-yout-safe-retries"),
)
_LISTS = (
    b"x-forwarded-for",
    b"content-encoding",
    b"x-stainless-retry-count",
)  # repeated headers are joined to one list (RFC 9110, section 5.3)


def deprecation_headers(alias: Alias) -> list[tuple[bytes, bytes]]:
    """Return the response headers about a deprecated alias or model: `Deprecation` (RFC 9745), `Sunset` (RFC 8594) and a `Link`
    to its successor (RFC 5829). Empty if it is not deprecated.
    """
    if alias.deprecated_at is None:
        return []
    headers = [(b"deprecation", b"@%d" % (alias.deprecated_at // 1000))]
    if alias.successor:
        link = f'</v1/models/{quote(alias.successor, safe="/:@")}>; rel="successor-version"'
        headers.append((b"link", link.encode()))
    if alias.shutdown_at is not None:
        headers.append((b"sunset", formatdate(alias.shutdown_at / 1000, usegmt=True).encode()))
    return headers


def read_headers(scope: Scope) -> ApiHeaders:
    """Return the API headers. Raises `InvalidRequest` if a header that must be unique is repeated."""
    found = dict.fromkeys(_NAMES)
    for name, value in scope["headers"]:
        if name in found:
            first = found[name]
            found[name] = value if first is None else _repeated(name, first, value)
    return ApiHeaders(*found.values())


def _repeated(name: bytes, first: bytes, second: bytes) -> bytes:
    """Return the value of a repeated header. Two keys are rejected, because another server might use the other one."""
    if name in _LISTS:
        return b"%b, %b" % (first, second)
    raise InvalidRequest(f"Send the '{name.decode()}' header only once.", name.decode())


def idempotency_claim(key: bytes | None, body: bytes) -> Claim | None:
    """Return the idempotency claim for a key and a body, or None without a key. Raises `InvalidRequest`."""
    if key is None:
        return None
    if not 1 <= len(key) <= MAX_IDEMPOTENCY_KEY_LENGTH:
        raise InvalidRequest(f"'Idempotency-Key' must have 1 to {MAX_IDEMPOTENCY_KEY_LENGTH} characters.", "Idempotency-Key")
    return Claim(hashlib.sha256(key).hexdigest(), hashlib.sha256(body).hexdigest())


def parse_max_credits(value: bytes | None) -> int | None:
    """Parse `x-yout-max-credits`, the caller's own limit. Raises `InvalidRequest`."""
    if value is None:
        return None
    if not value.isdigit() or len(value) > 15:
        raise InvalidRequest("'x-yout-max-credits' must be an integer number of credits.", "x-yout-max-credits")
    return int(value)


def check_max_credits(required: int, max_credits: int | None) -> None:
    """Raise `InsufficientCredits` if a call needs more credits than the caller's own limit."""
    if max_credits is not None and required > max_credits:
        raise InsufficientCredits(
            required=required,
            max_credits=max_credits,
            message=f"This call needs at least {required} credits, but 'x-yout-max-credits' is {max_credits}.",
        )
