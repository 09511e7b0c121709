"""Checks of single values that a person typed. Each returns the value to store or raises `InvalidInput`. Pure."""

from __future__ import annotations

from collections.abc import Collection

from shared.errors import InvalidInput

LARGEST_AMOUNT = 10**15  # credits in one movement; far from the end of a BIGINT, so that sums cannot reach it


def check_email(text: str) -> str:
    """The address in lower case. Only its shape is checked: one @, something on both sides, no blanks."""
    email = text.strip().lower()
    local, at, domain = email.rpartition("@")
    if not (local and at and domain) or "@" in local or not email.isprintable() or " " in email or len(email) > 254:
        raise InvalidInput(f"{text!r} is not an e-mail address; write it as name@example.com.")
    return email


def check_text(what: str, text: str, longest: int, *, empty: bool = False) -> str:
    """`text` without blanks around it: printable, at most `longest` characters, and not empty unless `empty`."""
    text = text.strip()
    if not text and not empty:
        raise InvalidInput(f"The {what} must not be empty.")
    if len(text) > longest or not text.isprintable():
        raise InvalidInput(f"The {what} must be printable text of at most {longest} characters.")
    return text


def check_whole(what: str, value: int, low: int, high: int) -> int:
    """`value`, a whole number between `low` and `high`. A bool or a float is refused: money and limits are counted."""
    if type(value) is not int or not low <= value <= high:
        raise InvalidInput(f"The {what} must be a whole number between {low} and {high}, not {value!r}.")
    return value


def check_choice(what: str, value: str, choices: Collection[str]) -> str:
    """`value`, which must be one of `choices`."""
    if value not in choices:
        raise InvalidInput(f"The {what} must be {' or '.join(choices)}, not {value!r}.")
    return value
