"""The caller's address behind proxies: nothing that the caller could have written is believed."""

from __future__ import annotations

import pytest

from shared.proxies import caller_address, network_of

PROXIES = ("10.0.0.0/8", "2001:db8::1")


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "trusted", "expected"),
    [
        ("203.0.113.9", "", (), "203.0.113.9"),
        ("203.0.113.9", "198.51.100.1", (), "203.0.113.9"),
        ("203.0.113.9", "198.51.100.1", PROXIES, "203.0.113.9"),
        ("10.1.2.3", "198.51.100.1", PROXIES, "198.51.100.1"),
        ("10.1.2.3", "1.1.1.1, 198.51.100.1", PROXIES, "198.51.100.1"),
        ("10.1.2.3", "198.51.100.1, 10.9.9.9", PROXIES, "198.51.100.1"),
        ("2001:db8::1", " 198.51.100.1 ,", PROXIES, "198.51.100.1"),
        ("10.1.2.3", "not an address, 10.9.9.9", PROXIES, "not an address"),
        ("10.1.2.3", "", PROXIES, "10.1.2.3"),
        ("", "198.51.100.1", PROXIES, ""),
    ],
)
def test_the_first_address_from_the_right_that_is_no_proxy(
    peer: str, forwarded_for: str, trusted: tuple[str, ...], expected: str
) -> None:
    assert caller_address(peer, forwarded_for, trusted) == expected


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("::1", "::/64"),
        ("", ""),
        ("not an address", "not an address"),
    ],
)
def test_what_is_counted_together(address: str, network: str) -> None:
    assert network_of(address) == network
