"""Names in every script, text that databases cannot store, and truncation between characters."""

from __future__ import annotations

import pytest

from shared.core.errors import InvalidInput
from shared.operations.validation import check_text
from shared.text.plain_text import find_unstorable_field, to_one_line, truncate

GOOD = ["👩‍💻 bot", "می‌خواهم", "क्‍ष", "a\u00a0b", "🏴\U000e0067\U000e0062\U000e007f", "\u200fשלום", "Zoë’s “key”", "🫩"]
BAD = ["a\nb", "a\tb", "a\0b", "a\u202eb", "a\u2066b\u2069", "a\u200bb", "a\ufeffb", "a\u2028b", "\ud800", "a\x7fb", "a\ue000"]


@pytest.mark.parametrize("name", GOOD)
def test_a_name_may_be_in_any_script(name: str) -> None:
    assert check_text("name", f" {name}\u00a0", 30) == name


@pytest.mark.parametrize("name", BAD)
def test_invisible_and_bidi_control_characters_are_rejected(name: str) -> None:
    with pytest.raises(InvalidInput, match="control character or an invisible character"):
        check_text("name", name, 30)
    assert check_text("name", to_one_line(name), 30, empty=True) == to_one_line(name)


@pytest.mark.parametrize(
    "name", ["", " ", "\u00a0", "\u200d", "\u200f \u200c", "\u3164", "\u115f\u1160", "\u17b4", "\u2800", "\ufe0f"]
)
def test_an_invisible_name_is_empty(name: str) -> None:
    with pytest.raises(InvalidInput, match="must not be empty"):
        check_text("name", name, 30)


def test_a_name_is_normalized_and_measured_in_code_points() -> None:
    assert check_text("name", "e\u0301" * 5, 5) == "é" * 5
    with pytest.raises(InvalidInput, match="at most 5 characters, not 6"):
        check_text("name", "👩" * 6, 5)


@pytest.mark.parametrize(
    ("text", "longest", "kept"),
    [
        ("plain", 5, "plain"),
        ("plain text", 6, "plain…"),
        ("ab👩‍💻cd", 5, "ab…"),
        ("ab👩‍💻cd", 6, "ab👩‍💻…"),
        ("a" + "e\u0301" * 3, 5, "ae\u0301…"),
        ("🇩🇪🇫🇷", 3, "🇩🇪…"),
    ],
)
def test_text_is_truncated_between_characters(text: str, longest: int, kept: str) -> None:
    assert truncate(text, longest, "…") == kept


def test_unstorable_text_is_rejected_with_its_field() -> None:
    assert find_unstorable_field([("a", "b"), ("c", "x\0y"), ("d", "\0")]) == "c"
    assert find_unstorable_field([("a", "\udc80")]) == "a"
    assert find_unstorable_field([("n\0", "")]) == "n\ufffd"
    assert find_unstorable_field([("a", "👩‍💻"), ("b", [1, None, {"c": "d"}])]) is None
    assert find_unstorable_field([("a", [1, {"b": ["\0"]}])]) == "a"
    assert find_unstorable_field([("a", {"b\0": 1})]) == "a"
