"""Reasons of ledger entries, as pages show them."""

from __future__ import annotations

import pytest

from shared.core.timestamps import format_timestamp
from shared.ledger.reasons import shown_reason
from shared.text.translation import in_language

NOW = 1_795_390_000_123


@pytest.mark.parametrize(
    ("reason", "english", "german"),
    [
        ("opening credits", "opening credits", "Startguthaben"),
        (f"A: B: period from {format_timestamp(NOW)}", "A: B: period from Nov 22, 2026", "A: B: Zeitraum ab 22.11.2026"),
        ("Studio: period from May", "Studio: period from May", "Studio: period from May"),
        ("Studio: beyond the rollover cap", "Studio: beyond the rollover cap", "Studio: über der Übertragsgrenze"),
        ("an apology: sorry", "an apology: sorry", "an apology: sorry"),
        ("", "", ""),
    ],
)
def test_reasons_of_the_platform_are_translated(reason: str, english: str, german: str) -> None:
    assert shown_reason(reason) == english
    with in_language("de"):
        assert shown_reason(reason) == german
