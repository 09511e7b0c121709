"""Text input: normalizes names, detects characters that the database cannot store, and truncates text. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import regex

# Invisible format characters (Cf) that names may contain: joiners of Persian, Hindi and emoji, direction marks of Hebrew and
# Arabic, and tags inside flags. Others reorder or hide the text around them.
_JOINERS = frozenset("\u200c\u200d\u200e\u200f\u061c\U000e007f") | {chr(code) for code in range(0xE0020, 0xE007F)}
# Letters, marks and symbols without a visible shape: Hangul fillers, inherent Khmer vowels, variation selectors, blank Braille.
_BLANK = frozenset("\u115f\u1160\u3164\uffa0\u17b4\u17b5\u2800\u034f") | {chr(code) for code in range(0xFE00, 0xFE10)}
_REFUSED_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def one_line(text: str) -> str | None:
    """Normalize a name or other short text (NFC, no surrounding spaces). Returns None if it has a forbidden character.

    Every script and emoji are allowed, with their joiners. Control characters, line breaks, bidirectional overrides and isolates,
    and other invisible characters are forbidden, because they can make one name look like another.
    """
    found = unicodedata.normalize("NFC", text.strip())
    if any(_is_refused(character) for character in found):
        return None
    return found if any(_is_visible(character) for character in found) else ""


def to_one_line(text: str) -> str:
    """Return any text as one line: characters that `one_line` forbids become spaces, and repeated spaces become one."""
    return " ".join("".join(" " if _is_refused(character) else character for character in text).split())


def truncate(text: str, max_length: int, mark: str = "") -> str:
    """Truncate `text` to at most `max_length` code points, including `mark` (such as "…"), without splitting a grapheme."""
    if len(text) <= max_length:
        return text
    kept = 0
    for found in _grapheme().finditer(text, 0, max_length + 1):  # one more, to see whether the last grapheme fits
        if found.end() > max_length - len(mark):
            break
        kept = found.end()
    return text[:kept].rstrip() + mark


@cache
def _grapheme() -> regex.Pattern[str]:
    import regex  # imported here: it takes 1 MB, and few texts are truncated

    return regex.compile(r"\X")


def find_unstorable_field(fields: Iterable[tuple[str, object]]) -> str | None:
    """Return the name of the first field with a character that PostgreSQL cannot store: NUL or a lone surrogate.

    The values are JSON values; the texts and names in them are checked, too.
    """
    for name, value in fields:
        if _UNSTORABLE.search(name) or any(_UNSTORABLE.search(text) for text in _texts(value)):
            return _UNSTORABLE.sub("\ufffd", name)
    return None


def _texts(value: object) -> Iterator[str]:
    """Yield the texts and the names of fields in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            yield name
            yield from _texts(item)


def _is_refused(character: str) -> bool:
    return unicodedata.category(character) in _REFUSED_CATEGORIES and character not in _JOINERS


def _is_visible(character: str) -> bool:
    return character not in _JOINERS and character not in _BLANK and not character.isspace()
