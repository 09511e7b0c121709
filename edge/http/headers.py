"""Headers of API calls: the key, limits, idempotency and addresses. Pure."""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

from shared.core.errors import InvalidRequest
from shared.ledger import Claim

Scope = dict[str, Any]
LONGEST_IDEMPOTENCY_KEY = 255


class Wanted(NamedTuple):
    """The request headers that matter here."""

    authorization: bytes | None
    x_api_key: bytes | None
    content_length: bytes | None
    idempotency_key: bytes | None
    max_credits: bytes | None
    forwarded_for: bytes | None
    content_encoding: bytes | None
    origin: bytes | None

    @property
    def key_sent(self) -> bool:
        """Whether the request brings what should be a key."""
        return self.authorization is not None or self.x_api_key is not None


_NAMES = (
    *(b"authorization", b"x-api-key", b"content-length", b"idempotency-key", b"x-yout-max-credits", b"x-forwarded-for"),
    *(b"content-encoding", b"origin"),
)
_LISTS = (b"x-forwarded-for", b"content-encoding")  # several headers of these are one list (RFC 9110, section 5.3)


def read_headers(scope: Scope) -> Wanted:
    """The values of the relevant headers. Raises `InvalidRequest` for a repeated header that must be unique."""
    found = dict.fromkeys(_NAMES)
    for name, value in scope["headers"]:
        if name in found:
            first = found[name]
            found[name] = value if first is None else _repeated(name, first, value)
    return Wanted(*found.values())


def _repeated(name: bytes, first: bytes, second: bytes) -> bytes:
    """The value of a repeated header. Two keys are refused: another server could read the other one."""
    if name in _LISTS:
        return b"%b, %b" % (first, second)
    raise InvalidRequest(f"Send the header '{name.decode()}' once, not several times.", name.decode())


def claim_of(key: bytes | None, body: bytes) -> Claim | None:
    """The claim that an `Idempotency-Key` makes for a body."""
    if key is None:
        return None
    if not 1 <= len(key) <= LONGEST_IDEMPOTENCY_KEY:
        raise InvalidRequest(f"'Idempotency-Key' must have 1 to {LONGEST_IDEMPOTENCY_KEY} characters.", "Idempotency-Key")
    return Claim(hashlib.sha256(key).hexdigest(), hashlib.sha256(body).hexdigest())


def cap_of(value: bytes | None) -> int | None:
    """The caller's own limit in credits, `x-yout-max-credits`."""
    if value is None:
        return None
    if not value.isdigit() or len(value) > 15:
        raise InvalidRequest("'x-yout-max-credits' must be a whole number of credits.", "x-yout-max-credits")
    return int(value)
