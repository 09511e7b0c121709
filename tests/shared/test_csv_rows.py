"""CSV that a spreadsheet does not run."""

from __future__ import annotations

import pytest

from shared.csv_rows import csv_rows


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_text_that_would_begin_a_formula_is_quoted(text: str) -> None:
    assert csv_rows([[text]]).strip(b'\r\n"').startswith(b"'")


def test_numbers_nothing_and_plain_text_are_left_as_they_are() -> None:
    assert csv_rows([[-5, None, "a, b", "ü"]]) == '-5,,"a, b",ü\r\n'.encode()
