"""Passwords: Argon2id hashes of one form of what was typed, and generated passwords that survive being read aloud."""

from __future__ import annotations

import secrets
import unicodedata
from functools import cache
from typing import NamedTuple

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from shared.errors import InvalidInput

ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"  # base58: without 0, O, I and l
GENERATED_LENGTH = 20  # 117 bits
SHORTEST, LONGEST = 12, 1024  # characters; the upper end bounds the work that a stranger can ask for
MAX_TYPED = 4 * LONGEST  # NFKC composes up to four code points, such as a letter with three marks, to one

# What OWASP's "Password Storage Cheat Sheet" names first: 19 MiB, two passes, one lane. The library's default, 64 MiB in four
# lanes, would let a few wrong sign-ins at once take every processor and a quarter of a gigabyte.
_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


class Verdict(NamedTuple):
    """Whether a password is the right one, and whether its hash should be replaced by a new one of today's kind."""

    right: bool
    outdated: bool


def generate() -> str:
    """A fresh password of 20 base58 characters."""
    return "".join(secrets.choice(ALPHABET) for _ in range(GENERATED_LENGTH))


def normalize(password: str) -> str:
    """The one form of a password, whichever keyboard it was typed on: NFKC, as NIST SP 800-63B asks."""
    return unicodedata.normalize("NFKC", password)


def check_password(password: str) -> str:
    """A password that somebody chose, in its one form. Raises `InvalidInput` for one that is too short, too long or not text."""
    password = normalize(password)
    if len(password) < SHORTEST:
        raise InvalidInput(f"The password needs {SHORTEST} characters or more. Four unusual words are easy to keep.")
    if len(password) > LONGEST:
        raise InvalidInput(f"The password may have {LONGEST} characters at most.")
    if not _is_text(password):
        raise InvalidInput("The password contains a character that cannot be used. Type it instead of pasting it.")
    return password


def hash_password(password: str) -> str:
    """The Argon2id hash of the one form, with its parameters and salt, about 100 characters. Takes tens of milliseconds by
    design: call it from `shared.hash_queue` wherever strangers can ask for it."""
    return _hasher.hash(normalize(password))


def check(stored_hash: str | None, password: str) -> Verdict:
    """Compare `password` with the one behind `stored_hash`.

    With None (no such person) the same work is done and the verdict is "wrong", so that time does not tell who exists. A hash of
    former days may be of the password as it was typed then: that form is tried too, and is outdated.
    """
    if len(password) > MAX_TYPED or not _is_text(password):
        return Verdict(False, False)
    one_form = normalize(password)
    if len(one_form) > LONGEST:
        return Verdict(False, False)
    for form in (one_form, password) if one_form != password else (one_form,):
        if _verify(stored_hash or _nobody(), form) and stored_hash is not None:
            return Verdict(True, form != one_form or _hasher.check_needs_rehash(stored_hash))
    return Verdict(False, False)


def matches(stored_hash: str | None, password: str) -> bool:
    """Whether `password` is the one behind `stored_hash`. See `check`."""
    return check(stored_hash, password).right


def _verify(stored_hash: str, password: str) -> bool:
    try:
        return _hasher.verify(stored_hash, password)
    except (VerificationError, InvalidHashError):
        return False


def _is_text(password: str) -> bool:
    """Whether a database and a hash can hold it: no NUL, no half of a surrogate pair."""
    return "\0" not in password and not any("\ud800" <= character <= "\udfff" for character in password)


@cache
def _nobody() -> str:
    return _hasher.hash(generate())
