"""Checks of single values that a person typed. Each returns the value to store or raises `InvalidInput`. Pure."""

from __future__ import annotations

from collections.abc import Collection

from shared.errors import InvalidInput
from shared.text import one_line

LARGEST_AMOUNT = 10**15  # credits in one movement; far from the end of a BIGINT, so that sums cannot reach it


def check_text(what: str, text: str, longest: int, *, empty: bool = False) -> str:
    """`text` as one line (`shared.text.one_line`): at most `longest` code points, and not empty unless `empty`."""
    line = one_line(text)
    if line is None:
        raise InvalidInput(f"The {what} contains a line break, a control character or an invisible character. Use one line.")
    if not line and not empty:
        raise InvalidInput(f"The {what} must not be empty.")
    if len(line) > longest:
        raise InvalidInput(f"The {what} must have at most {longest} characters, not {len(line)}.")
    return line


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
