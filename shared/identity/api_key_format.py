"""Format of API keys, and their digests. Pure.

A key is `yout-`, 32 random base62 characters, and their CRC-32 as 6 base62 characters. The format lets secret scanners recognize
keys, and mistyped keys are refused without a lookup. Only the SHA-256 of the whole key is stored. Admin keys have the prefix
`yout-admin-`, so that neither kind is well-formed as the other.
"""

from __future__ import annotations

import hashlib
import secrets
import zlib
from typing import NamedTuple

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_DIGITS = {character: digit for digit, character in enumerate(ALPHABET)}
_NO_DIGIT = 1 << 64  # an invalid character: the sum never equals a CRC-32
PREFIX = "yout-"
ADMIN_PREFIX = "yout-admin-"
RANDOM_LENGTH = 32
CHECKSUM_LENGTH = 6
BODY_LENGTH = RANDOM_LENGTH + CHECKSUM_LENGTH
LENGTH = len(PREFIX) + BODY_LENGTH


class NewKey(NamedTuple):
    """A new key. `secret` is shown once; `digest` (64 hex characters) and `prefix` (`yout-AbCd…`) are stored."""

    secret: str
    digest: str
    prefix: str


def new_key(prefix: str = PREFIX) -> NewKey:
    """Create a key from the system's random source (190 bits)."""
    body = "".join(secrets.choice(ALPHABET) for _ in range(RANDOM_LENGTH))
    secret = prefix + body + checksum(body)
    return NewKey(secret, digest(secret), shown_prefix(secret, prefix))


def shown_prefix(secret: str, prefix: str = PREFIX) -> str:
    """Return the part of a key that is stored as plain text: `yout-AbCd…`. The text may be cut after that."""
    return secret[: len(prefix) + 4] + "…"


def checksum(body: str) -> str:
    """Return the CRC-32 of `body` as 6 base62 characters, most significant first."""
    value = zlib.crc32(body.encode())
    characters = []
    for _ in range(CHECKSUM_LENGTH):
        value, digit = divmod(value, len(ALPHABET))
        characters.append(ALPHABET[digit])
    return "".join(reversed(characters))


def is_well_formed(secret: str, prefix: str = PREFIX) -> bool:
    """Return whether `secret` has the format and checksum of a key. The key need not exist."""
    if len(secret) != len(prefix) + BODY_LENGTH or not secret.startswith(prefix) or not secret.isascii():
        return False
    value = 0  # decoding the checksum is faster than encoding the CRC-32
    for character in secret[-CHECKSUM_LENGTH:]:
        value = value * len(ALPHABET) + _DIGITS.get(character, _NO_DIGIT)
    return value == zlib.crc32(secret[len(prefix) : -CHECKSUM_LENGTH].encode())


def digest(secret: str) -> str:
    """Return the SHA-256 of a key in hex, by which it is stored and looked up."""
    return hashlib.sha256(secret.encode()).hexdigest()
