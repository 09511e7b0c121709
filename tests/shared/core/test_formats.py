"""Formatting of figures and times."""

from __future__ import annotations

import pytest

from shared.core import formats
from shared.text.translation import in_language

NOW = 1_795_390_000_123


@pytest.mark.parametrize(
    ("amount", "plain", "signed"),
    [(0, "0", "0"), (999, "999", "+999"), (14_999_990, "14 999 990", "+14 999 990"), (-1_200, "−1 200", "−1 200")],
)
def test_credits_are_grouped_with_thin_spaces(amount, plain, signed):
    assert formats.format_credits(amount) == plain.replace(" ", formats.NARROW_SPACE)
    assert formats.format_signed(amount) == signed.replace(" ", formats.NARROW_SPACE)


@pytest.mark.parametrize(("ms", "text"), [(None, "–"), (0, "0 ms"), (999, "999 ms"), (1_420, "1.42 s"), (185_400, "3 min 5 s")])
def test_durations(ms, text):
    assert formats.format_duration(ms).replace("\u202f", " ") == text


@pytest.mark.parametrize(
    ("ago_ms", "text"),
    [
        (0, "just now"),
        (12_000, "12 s ago"),
        (59 * 60_000, "59 min ago"),
        (3_600_000, "1 h ago"),
        (2 * 86_400_000, "2 d ago"),
        (-180_000, "in 3 min"),
        (40 * 86_400_000, "2026-10-13"),
    ],
)
def test_times_are_relative_for_a_month(ago_ms, text):
    assert formats.format_relative_time(NOW - ago_ms, NOW).replace("\u202f", " ") == text


def test_a_time_includes_the_exact_timestamp():
    assert 'title="2026-11-22' in formats.time_element(NOW)
    assert ".123 UTC" in formats.time_element(NOW)


@pytest.mark.parametrize(
    ("language", "duration", "percent", "usd", "date"),
    [
        ("en", "1.42 s", "−16.70 %", "≈ 1 234.50 USD", "Nov 22, 2026"),
        ("de", "1,42 s", "−16,70 %", "≈ 1 234,50 USD", "22.11.2026"),
    ],
)
def test_numbers_and_dates_are_in_the_language_of_the_request(language, duration, percent, usd, date):
    with in_language(language):
        found = (
            formats.format_duration(1_420),
            formats.format_percent(-0.167),
            formats.format_usd(1_234_500_000, 1_000_000),
            formats.format_date(NOW),
        )
    assert tuple(text.replace(formats.NARROW_SPACE, " ") for text in found) == (duration, percent, usd, date)


@pytest.mark.parametrize(
    ("amount", "usd"),
    [
        (0, "≈ 0.00 USD"),
        (12_345, "≈ 0.0123 USD"),
        (100, "≈ 0.0001 USD"),
        (20, "≈ 0.00002 USD"),
        (2, "≈ 0.000002 USD"),
        (-2, "≈ −0.000002 USD"),
    ],
)
def test_small_amounts_in_usd_are_not_rounded_to_zero(amount, usd):
    assert formats.format_usd(amount, 1_000_000).replace(formats.NARROW_SPACE, " ") == usd


def test_code_in_text_is_marked_and_escaped():
    assert formats.code_spans("Send `a<b` & wait.") == "Send <code>a&lt;b</code> &amp; wait."


def test_identifiers_break_only_between_words_and_are_escaped():
    assert formats.breakable("messages[].tool_calls") == "messages[]<wbr>.tool_<wbr>calls"
    assert formats.breakable("a<b") == "a&lt;b"
