"""The shape of API keys and their digests. Pure.

A key is `yout-`, 32 random base62 characters, and 6 base62 characters of CRC-32 over those 32: secret scanners recognise one, and
a mistyped key is refused without a look-up. Only the SHA-256 of the whole key is ever stored.
"""

from __future__ import annotations

import hashlib
import secrets
import zlib
from typing import NamedTuple

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_DIGITS = {character: digit for digit, character in enumerate(ALPHABET)}
_NO_DIGIT = 1 << 64  # makes any checksum wrong
MARK = "yout-"
RANDOM_LENGTH = 32
CHECKSUM_LENGTH = 6
LENGTH = len(MARK) + RANDOM_LENGTH + CHECKSUM_LENGTH


class NewKey(NamedTuple):
    """A fresh key: `secret` is shown once, `digest` (64 hex characters) and `prefix` (`yout-AbCd…`) are stored."""

    secret: str
    digest: str
    prefix: str


def new_key() -> NewKey:
    """Make a key from the system's random source (190 bits)."""
    body = "".join(secrets.choice(ALPHABET) for _ in range(RANDOM_LENGTH))
    secret = MARK + body + checksum(body)
    return NewKey(secret, digest(secret), secret[: len(MARK) + 4] + "…")


def checksum(body: str) -> str:
    """The CRC-32 of `body` as 6 base62 characters, most significant first."""
    value = zlib.crc32(body.encode())
    characters = []
    for _ in range(CHECKSUM_LENGTH):
        value, digit = divmod(value, len(ALPHABET))
        characters.append(ALPHABET[digit])
    return "".join(reversed(characters))


def well_formed(secret: str) -> bool:
    """Whether `secret` has the shape and checksum of a key. Says nothing about its being known."""
    if len(secret) != LENGTH or not secret.startswith(MARK) or not secret.isascii():
        return False
    value = 0  # the checksum's digits as a number: quicker than the number as digits, and every request pays for it
    for character in secret[-CHECKSUM_LENGTH:]:
        value = value * len(ALPHABET) + _DIGITS.get(character, _NO_DIGIT)
    return value == zlib.crc32(secret[len(MARK) : -CHECKSUM_LENGTH].encode())


def digest(secret: str) -> str:
    """The SHA-256 of a key, in hex: what the database knows it by."""
    return hashlib.sha256(secret.encode()).hexdigest()
