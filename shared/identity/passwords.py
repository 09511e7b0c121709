"""Passwords: Argon2id hashes of the normalized password, and generated passwords that are easy to read aloud."""

from __future__ import annotations

import secrets
import unicodedata
from functools import cache
from typing import NamedTuple

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from shared.core.errors import InvalidInput
from shared.text.translation import lazy_gettext

ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"  # base58: without 0, O, I and l
GENERATED_LENGTH = 20  # 117 bits
MIN_LENGTH, MAX_LENGTH = 12, 1024  # characters; the upper limit bounds the work per attempt
MAX_INPUT_LENGTH = 4 * MAX_LENGTH  # NFKC may combine up to four code points into one

# OWASP's first choice ("Password Storage Cheat Sheet"): 19 MiB, two passes, one lane. With the library's default, 64 MiB in four
# lanes, a few concurrent sign-ins would use every CPU core and a quarter of a gigabyte.
_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


class PasswordCheck(NamedTuple):
    """Whether a password matches, and whether its hash should be replaced because its parameters are outdated."""

    matches: bool
    outdated: bool


def generate_password() -> str:
    """Return a new password of 20 base58 characters."""
    return "".join(secrets.choice(ALPHABET) for _ in range(GENERATED_LENGTH))


def normalize(password: str) -> str:
    """Return the password in NFKC, as NIST SP 800-63B recommends, so that different keyboards produce the same password."""
    return unicodedata.normalize("NFKC", password)


def check_password(password: str) -> str:
    """Return the normalized new password. Raises `InvalidInput` if it is too short, too long or not valid text."""
    password = normalize(password)
    if len(password) < MIN_LENGTH:
        raise InvalidInput(
            lazy_gettext(
                "The password must have at least {minimum} characters. Four unusual words are easy to remember.",
                minimum=MIN_LENGTH,
            )
        )
    if len(password) > MAX_LENGTH:
        raise InvalidInput(lazy_gettext("The password can have at most {maximum} characters.", maximum=MAX_LENGTH))
    if not _is_text(password):
        raise InvalidInput(lazy_gettext("The password contains a character that cannot be used. Type it instead of pasting it."))
    return password


def hash_password(password: str) -> str:
    """Return the Argon2id hash of the normalized password, about 100 characters, including parameters and salt.

    Takes tens of milliseconds by design. If unauthenticated callers can trigger it, use `shared.identity.hash_queue`.
    """
    return _hasher.hash(normalize(password))


def check_hash(stored_hash: str | None, password: str) -> PasswordCheck:
    """Compare `password` with `stored_hash`.

    Without one (no such person, or no password) the same work is done, so that the time does not reveal whether the person
    exists. Older hashes may be of the password before normalization: this is tried too, and such a hash counts as outdated.
    """
    if len(password) > MAX_INPUT_LENGTH or not _is_text(password):
        return PasswordCheck(False, False)
    one_form = normalize(password)
    if len(one_form) > MAX_LENGTH:
        return PasswordCheck(False, False)
    for form in (one_form, password) if one_form != password else (one_form,):
        if _verify(stored_hash or _dummy_hash(), form) and stored_hash:
            return PasswordCheck(True, form != one_form or _hasher.check_needs_rehash(stored_hash))
    return PasswordCheck(False, False)


def matches(stored_hash: str | None, password: str) -> bool:
    """Return whether `password` matches `stored_hash`. See `check`."""
    return check_hash(stored_hash, password).matches


def _verify(stored_hash: str, password: str) -> bool:
    try:
        return _hasher.verify(stored_hash, password)
    except (VerificationError, InvalidHashError):
        return False


def _is_text(password: str) -> bool:
    """Return whether a database can store the password: no NUL, no lone surrogates."""
    return "\0" not in password and not any("\ud800" <= character <= "\udfff" for character in password)


@cache
def _dummy_hash() -> str:
    return _hasher.hash(generate_password())
