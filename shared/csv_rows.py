"""Comma-separated values (RFC 4180) that spreadsheets read in every locale and never run as formulas. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

BYTE_ORDER_MARK = "\ufeff"  # without it Excel does not read a file as UTF-8
# A cell that begins with one of these is a formula (OWASP, "CSV Injection"); Japanese keyboards type the wide forms.
_FORMULA_MARKS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
# Cells with one of these are quoted: some spreadsheet, in some locale, takes it for the end of a cell or line.
_SEPARATORS = frozenset(",;\t|\r\n\"'")


def csv_head(names: Sequence[str]) -> bytes:
    """The first line of a file, with the column names, as UTF-8 with a byte order mark."""
    return BYTE_ORDER_MARK.encode() + csv_rows([names])


def csv_rows(rows: Iterable[Sequence[object]]) -> bytes:
    """`rows` as UTF-8. Text that a spreadsheet would run as a formula is prefixed with an apostrophe; numbers are unchanged;
    None is empty."""
    return "".join(",".join(map(_cell, row)) + "\r\n" for row in rows).encode()


def _cell(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        return str(value)
    text = f"'{value}" if value.lstrip(" ").startswith(_FORMULA_MARKS) else value
    if _SEPARATORS.isdisjoint(text) and text.strip() == text:
        return text
    return '"' + text.replace('"', '""') + '"'
