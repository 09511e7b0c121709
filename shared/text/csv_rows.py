"""CSV (RFC 4180) that opens in spreadsheets of every locale and never runs as a formula. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

BYTE_ORDER_MARK = "\ufeff"  # without it Excel does not read a file as UTF-8
# A cell that begins with one of these is a formula (OWASP, "CSV Injection"); Japanese keyboards type the wide forms.
_FORMULA_MARKS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
# Cells with one of these are quoted: in some locale, a spreadsheet treats it as a separator.
_SEPARATORS = frozenset(",;\t|\r\n\"'")


def csv_header(names: Sequence[str]) -> bytes:
    """Return the header line with the column names, as UTF-8 with a byte order mark."""
    return BYTE_ORDER_MARK.encode() + csv_rows([names])


def csv_rows(rows: Iterable[Sequence[object]]) -> bytes:
    """Return `rows` as UTF-8. Text that would run as a formula gets an apostrophe in front; None is an empty cell."""
    return "".join(",".join(map(_cell, row)) + "\r\n" for row in rows).encode()


def escape_formula(text: str) -> str:
    """Return `text` with an apostrophe in front if a spreadsheet would run it as a formula."""
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA_MARKS) else text


def _cell(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        return str(value)
    text = escape_formula(value)
    if _SEPARATORS.isdisjoint(text) and text.strip() == text:
        return text
    return '"' + text.replace('"', '""') + '"'
