"""How changes are formatted."""

from __future__ import annotations

from console import formats

NOW = 1_795_390_000_123


def test_changes_pair_old_and_new_values():
    before, after = {"status": "active", "gone": 1}, {"status": "disabled", "amount": -1_500, "free": True, "effective_at": NOW}
    assert formats.changes(before, after) == [
        ("status", "active", "disabled"),
        ("gone", "1", ""),
        ("amount", "", "−1\u202f500"),
        ("free", "", "yes"),
        ("effective_at", "", formats.format_exact_time(NOW)),
    ]
    assert formats.changes(None, None) == []
