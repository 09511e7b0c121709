"""Validates single values entered by a person. Each function returns the value to store or raises `InvalidInput`. Pure."""

from __future__ import annotations

from collections.abc import Collection

from shared.core.errors import InvalidInput
from shared.text.plain_text import one_line

MAX_AMOUNT = 10**15  # credits per entry; far below BIGINT, so that sums cannot overflow


def check_text(what: str, text: str, max_length: int, *, empty: bool = False) -> str:
    """Return `text` as one line (`shared.text.plain_text.one_line`) of at most `max_length` code points. It may be empty only if
    `empty`."""
    line = one_line(text)
    if line is None:
        raise InvalidInput(f"The {what} contains a line break, a control character or an invisible character. Use one line.")
    if not line and not empty:
        raise InvalidInput(f"The {what} must not be empty.")
    if len(line) > max_length:
        raise InvalidInput(f"The {what} must have at most {max_length} characters, not {len(line)}.")
    return line


def check_integer(what: str, value: int, minimum: int, maximum: int) -> int:
    """Return `value`, an integer from `minimum` to `maximum`. Bools and floats are rejected."""
    if type(value) is not int or not minimum <= value <= maximum:
        raise InvalidInput(f"The {what} must be a whole number between {minimum} and {maximum}, not {value!r}.")
    return value


def check_choice(what: str, value: str, choices: Collection[str]) -> str:
    """Return `value`, which must be one of `choices`."""
    if value not in choices:
        raise InvalidInput(f"The {what} must be {' or '.join(choices)}, not {value!r}.")
    return value
