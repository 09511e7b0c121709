"""Text that people typed: what a name may hold, what a database can hold, and how text is cut. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

import regex

# Of the invisible format characters (Cf) these belong to writing: the joiners of Persian, Hindi and emoji, the direction marks of
# Hebrew and Arabic, and the tags inside flags. The others reorder or hide what is around them.
_JOINERS = frozenset("\u200c\u200d\u200e\u200f\u061c\U000e007f") | {chr(code) for code in range(0xE0020, 0xE007F)}
# Letters, marks and symbols that show nothing: Hangul fillers, inherent Khmer vowels, variation selectors, blank Braille.
_BLANK = frozenset("\u115f\u1160\u3164\uffa0\u17b4\u17b5\u2800\u034f") | {chr(code) for code in range(0xFE00, 0xFE10)}
_REFUSED_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
_GRAPHEME = regex.compile(r"\X")
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def one_line(text: str) -> str | None:
    """A name or other short text in its one form (NFC, without blanks around it); None for text that cannot be one.

    Every script is welcome, with its joiners, and emoji. Refused are control characters, line breaks, bidirectional overrides
    and isolates, and other invisible characters, by which one name can pose as another.
    """
    found = unicodedata.normalize("NFC", text.strip())
    if any(_is_refused(character) for character in found):
        return None
    return found if any(_is_visible(character) for character in found) else ""


def as_line(text: str) -> str:
    """Any text as one line: what `one_line` would refuse becomes a blank, and blanks become one."""
    return " ".join("".join(" " if _is_refused(character) else character for character in text).split())


def cut(text: str, longest: int, mark: str = "") -> str:
    """`text` in at most `longest` code points, with `mark` (such as "…") where it was cut, never inside a character as people
    see one."""
    if len(text) <= longest:
        return text
    kept = 0
    for found in _GRAPHEME.finditer(text, 0, longest + 1):  # a character that goes on beyond the limit ends beyond it, too
        if found.end() > longest - len(mark):
            break
        kept = found.end()
    return text[:kept].rstrip() + mark


def unstorable(fields: Iterable[tuple[str, str]]) -> str | None:
    """The name of the first field whose name or value holds what PostgreSQL cannot: NUL, or half of a surrogate pair."""
    for name, value in fields:
        if _UNSTORABLE.search(value) or _UNSTORABLE.search(name):
            return _UNSTORABLE.sub("\ufffd", name)
    return None


def _is_refused(character: str) -> bool:
    return unicodedata.category(character) in _REFUSED_CATEGORIES and character not in _JOINERS


def _is_visible(character: str) -> bool:
    return character not in _JOINERS and character not in _BLANK and not character.isspace()
