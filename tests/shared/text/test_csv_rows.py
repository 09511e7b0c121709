"""CSV that every spreadsheet can read and none executes."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.text.csv_rows import csv_header, csv_rows


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1+1", "＝1", "-"])
def test_text_that_starts_like_a_formula_is_escaped(text: str) -> None:
    assert csv_rows([[text]]).strip(b'\r\n"').startswith(b"'")


@pytest.mark.parametrize("separator", [",", ";", "\t", "|", "\n", "\r", '"', "'"])
def test_separators_of_any_locale_do_not_split_a_cell(separator: str) -> None:
    written = csv_rows([[f"a{separator}=1+1"]])
    assert written.startswith(b'"a')
    assert written.endswith(b'=1+1"\r\n')


def test_numbers_none_and_plain_text_are_unchanged() -> None:
    assert csv_rows([[-5, None, "a, b", "ü"]]) == '-5,,"a, b",ü\r\n'.encode()


def test_a_file_starts_with_a_utf_8_bom() -> None:
    head = csv_header(["größe", "b"])
    assert head.startswith(b"\xef\xbb\xbf")
    assert head.decode("utf-8-sig") == "größe,b\r\n"


@given(st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1), min_size=1))
def test_rows_round_trip(rows: list[list[str]]) -> None:
    read = list(csv.reader(io.StringIO(csv_rows(rows).decode(), newline="")))
    assert [[cell.removeprefix("'") for cell in row] for row in read] == [
        [cell.removeprefix("'") for cell in row] for row in rows
    ]
