"""Passwords of staff: Argon2id hashes, and generated passwords that survive being read aloud."""

from __future__ import annotations

import secrets
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"  # base58: without 0, O, I and l
GENERATED_LENGTH = 20  # 117 bits
SHORTEST, LONGEST = 12, 1024  # the upper end bounds the work that a stranger can ask for

_hasher = PasswordHasher()  # the library's defaults follow RFC 9106, section 4, second choice


def generate() -> str:
    """A fresh password of 20 base58 characters."""
    return "".join(secrets.choice(ALPHABET) for _ in range(GENERATED_LENGTH))


def hash_password(password: str) -> str:
    """The Argon2id hash with its parameters and salt, about 100 characters. Takes tens of milliseconds by design."""
    return _hasher.hash(password)


def matches(stored_hash: str | None, password: str) -> bool:
    """Whether `password` is the one behind `stored_hash`.

    With None (no such person) the same work is done and the answer is False, so that time does not tell who exists.
    """
    if len(password) > LONGEST:
        return False
    try:
        return _hasher.verify(stored_hash or _nobody(), password) and stored_hash is not None
    except (VerificationError, InvalidHashError):
        return False


def outdated(stored_hash: str) -> bool:
    """Whether the hash was made with other parameters than today's."""
    return _hasher.check_needs_rehash(stored_hash)


@cache
def _nobody() -> str:
    return _hasher.hash(generate())
