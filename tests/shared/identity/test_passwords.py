"""Passwords: Unicode normalization, and outdated hashes."""

from __future__ import annotations

import unicodedata
from typing import Literal

import pytest
from argon2 import PasswordHasher

from shared.core.errors import InvalidInput
from shared.identity import passwords

TYPED = "Zoë’s ﬁne café 12"
FORMS = [unicodedata.normalize(form, TYPED) for form in ("NFC", "NFD", "NFKC", "NFKD")]


@pytest.mark.parametrize("typed", FORMS)
def test_all_unicode_forms_of_a_password_match(typed: str) -> None:
    stored = passwords.hash_password(TYPED)
    assert passwords.check_hash(stored, typed) == (True, False)
    assert passwords.check_hash(stored, typed.upper()) == (False, False)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_length_is_measured_after_normalization(form: Literal["NFC", "NFD"]) -> None:
    typed = unicodedata.normalize(form, "é" * passwords.MAX_LENGTH)
    stored = passwords.hash_password(passwords.check_password(typed))
    assert passwords.check_hash(stored, typed) == (True, False)
    assert passwords.check_hash(stored, f"{typed}é") == (False, False)


def test_an_outdated_hash_matches_and_needs_replacement() -> None:
    as_typed = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(FORMS[1])
    assert passwords.check_hash(as_typed, FORMS[1]) == (True, True)
    other_settings = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("correct horse battery")
    assert passwords.check_hash(other_settings, "correct horse battery") == (True, True)
    assert passwords.check_hash(other_settings, "wrong horse battery") == (False, False)


@pytest.mark.parametrize("password", ["correct horse battery", "x" * 1_025, "a\0" * 10, "\ud800" * 12])
def test_an_unknown_account_matches_no_password(password: str) -> None:
    assert passwords.check_hash(None, password) == (False, False)


@pytest.mark.parametrize(
    ("password", "problem"),
    [
        ("short", "at least 12 characters"),
        ("x" * 1_025, "at most"),
        ("a\0" * 10, "cannot be used"),
        ("\ud800" * 12, "cannot be used"),
    ],
)
def test_an_unsuitable_password_is_rejected(password: str, problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        passwords.check_password(password)
