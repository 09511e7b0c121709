"""Validates single values entered by a person. Each function returns the value to store or raises `InvalidInput`. Pure."""

from __future__ import annotations

from collections.abc import Collection

from shared.core.errors import InvalidInput
from shared.text.plain_text import one_line
from shared.text.translation import lazy_gettext

MAX_AMOUNT = 10**15  # credits per entry; far below BIGINT, so that sums cannot overflow


def check_text(what: str, text: str, max_length: int, *, empty: bool = False) -> str:
    """Return `text` as one line (`shared.text.plain_text.one_line`) of at most `max_length` code points. It may be empty only if
    `empty`."""
    line = one_line(text)
    if line is None:
        raise InvalidInput(
            lazy_gettext(
                "The {what} contains a line break, a control character or an invisible character. Use one line.", what=what
            )
        )
    if not line and not empty:
        raise InvalidInput(lazy_gettext("The {what} must not be empty.", what=what))
    if len(line) > max_length:
        raise InvalidInput(
            lazy_gettext(
                "The {what} must have at most {maximum} characters, not {line}.",
                what=what,
                maximum=max_length,
                line=len(line),
            )
        )
    return line


def check_name(what: str, text: str, max_length: int) -> str:
    """Like `check_text`, for a name that URLs contain: without slashes, and neither `.` nor `..`."""
    name = check_text(what, text, max_length)
    if "/" in name or name in (".", ".."):
        raise InvalidInput(
            lazy_gettext("The {what} must not contain a slash, or be '.' or '..', because it is part of addresses.", what=what)
        )
    return name


def check_integer(what: str, value: int, minimum: int, maximum: int) -> int:
    """Return `value`, an integer from `minimum` to `maximum`. Bools and floats are rejected."""
    if type(value) is not int or not minimum <= value <= maximum:
        raise InvalidInput(
            lazy_gettext(
                "The {what} must be a whole number between {minimum} and {maximum}, not {value!r}.",
                what=what,
                minimum=minimum,
                maximum=maximum,
                value=value,
            )
        )
    return value


def check_choice(what: str, value: str, choices: Collection[str]) -> str:
    """Return `value`, which must be one of `choices`."""
    if value not in choices:
        raise InvalidInput(
            lazy_gettext("The {what} must be {choices}, not {value!r}.", what=what, choices=" or ".join(choices), value=value)
        )
    return value
