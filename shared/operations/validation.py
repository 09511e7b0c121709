"""Validates single values entered by a person. Each function returns the value to store or raises `InvalidInput`. Pure."""

from __future__ import annotations

from collections.abc import Collection

from shared.core.errors import InvalidInput
from shared.text.plain_text import one_line

LARGEST_AMOUNT = 10**15  # credits per entry; far below BIGINT, so that sums cannot overflow


def check_text(what: str, text: str, longest: int, *, empty: bool = False) -> str:
    """Return `text` as one line (`shared.text.plain_text.one_line`) of at most `longest` code points. It may be empty only if
    `empty`."""
    line = one_line(text)
    if line is None:
        raise InvalidInput(f"The {what} contains a line break, a control character or an invisible character. Use one line.")
    if not line and not empty:
        raise InvalidInput(f"The {what} must not be empty.")
    if len(line) > longest:
        raise InvalidInput(f"The {what} must have at most {longest} characters, not {len(line)}.")
    return line


def check_whole(what: str, value: int, low: int, high: int) -> int:
    """Return `value`, an integer from `low` to `high`. Bools and floats are rejected."""
    if type(value) is not int or not low <= value <= high:
        raise InvalidInput(f"The {what} must be a whole number between {low} and {high}, not {value!r}.")
    return value


def check_choice(what: str, value: str, choices: Collection[str]) -> str:
    """Return `value`, which must be one of `choices`."""
    if value not in choices:
        raise InvalidInput(f"The {what} must be {' or '.join(choices)}, not {value!r}.")
    return value
