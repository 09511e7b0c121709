"""Rows of comma-separated values (RFC 4180) that no spreadsheet takes for formulas. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

# What spreadsheets run when a cell begins with it (OWASP, CSV injection).
_FORMULA_MARKS = ("=", "+", "-", "@", "\t", "\r")


def csv_rows(rows: Iterable[Sequence[object]]) -> bytes:
    """`rows` as UTF-8. Text that would begin a formula gets a quote in front; numbers are left as they are; None is empty."""
    out = io.StringIO(newline="")
    csv.writer(out).writerows([_cell(value) for value in row] for row in rows)
    return out.getvalue().encode()


def _cell(value: object) -> object:
    if isinstance(value, str) and value.startswith(_FORMULA_MARKS):
        return f"'{value}"
    return value
