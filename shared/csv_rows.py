"""Comma-separated values (RFC 4180) that spreadsheets read in every locale and never run as formulas. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

BYTE_ORDER_MARK = "\ufeff"  # without it Excel does not read a file as UTF-8
# What spreadsheets run when a cell begins with it (OWASP, "CSV Injection"); the wide forms are typed with Japanese keyboards.
_FORMULA_MARKS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
# Where some spreadsheet, in some locale, begins a new cell or line unless the cell is quoted.
_SEPARATORS = frozenset(",;\t|\r\n\"'")


def csv_head(names: Sequence[str]) -> bytes:
    """The beginning of a file: the names of its columns, as UTF-8 that says so."""
    return BYTE_ORDER_MARK.encode() + csv_rows([names])


def csv_rows(rows: Iterable[Sequence[object]]) -> bytes:
    """`rows` as UTF-8. Text that would begin a formula gets an apostrophe in front; numbers stay as they are; None is empty."""
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
