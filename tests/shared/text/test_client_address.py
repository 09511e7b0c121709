"""Normalizing IP addresses, and the client IP behind proxies: addresses that the client could forge are not trusted."""

from __future__ import annotations

import pytest

from shared.text.client_address import (
    MAX_ADDRESS_LENGTH,
    caller_address,
    is_loopback,
    network_of,
    normalize_address,
    normalize_network,
)

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
        ("10.1.2.3", "not an address, 10.9.9.9", PROXIES, "10.9.9.9"),
        ("10.1.2.3", "198.51.100.1, unknown", PROXIES, "10.1.2.3"),
        ("::ffff:10.1.2.3", "198.51.100.1", PROXIES, "198.51.100.1"),
        ("::ffff:203.0.113.9", "198.51.100.1", PROXIES, "203.0.113.9"),
        ("10.1.2.3", "198.51.100.1:51008", PROXIES, "198.51.100.1"),
        ("10.1.2.3", "198.51.100.1:51008, [2001:db8::1]:443", PROXIES, "198.51.100.1"),
        ("10.1.2.3", "[2001:db8::5]:443", PROXIES, "2001:db8::5"),
        ("::ffff:10.1.2.3", "198.51.100.1", ("::ffff:10.0.0.0/104",), "198.51.100.1"),
        ("10.1.2.3", "", PROXIES, "10.1.2.3"),
        ("", "198.51.100.1", PROXIES, ""),
    ],
)
def test_the_client_ip_is_the_rightmost_untrusted_address(
    peer: str, forwarded_for: str, trusted: tuple[str, ...], expected: str
) -> None:
    assert caller_address(peer, forwarded_for, trusted) == expected


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("203.0.113.9:51008", "203.0.113.9"),
        ("[2001:db8:1:2:3::1]:443", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("::1", "::/64"),
        ("", ""),
        ("not an address", "not an address"),
    ],
)
def test_addresses_grouped_into_one_network(address: str, network: str) -> None:
    assert network_of(address) == network


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("203.0.113.7", "203.0.113.7"),
        (" 203.0.113.7\t", "203.0.113.7"),
        ("203.0.113.7:51008", "203.0.113.7"),
        ("203.0.113.7:_hidden-1", "203.0.113.7"),
        ('"203.0.113.7:51008"', "203.0.113.7"),
        ("2001:DB8:0:0::5", "2001:db8::5"),
        ("[2001:db8::5]", "2001:db8::5"),
        ("[2001:db8::5]:443", "2001:db8::5"),
        ('"[2001:db8::5]:443"', "2001:db8::5"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("::FFFF:cb00:7107", "203.0.113.7"),
        ("[::ffff:203.0.113.7]:80", "203.0.113.7"),
        ("fe80::1%eth0", "fe80::1"),
        ("[fe80::1%25eth0]:80", "fe80::1"),
    ],
)
def test_every_notation_of_an_address_is_normalized(text: str, address: str) -> None:
    assert normalize_address(text) == address
    assert normalize_address(address) == address


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "unknown", "_hidden", "<local>", "example.com", "203.0.113", "203.0.113.07", "203.0.113.7:port"),
        *("203.0.113.7:123456", "203.0.113.7 ,", "203.0.113.7\n", "[::1", "::1]", "[::1]x", "2001:db8::5:443:", "1" * 9_000),
        "2001:db8::5%" + "z" * MAX_ADDRESS_LENGTH,
    ],
)
def test_invalid_addresses(text: str) -> None:
    assert normalize_address(text) == ""
    assert not is_loopback(text)


@pytest.mark.parametrize("text", ["127.0.0.1", "127.8.0.1", "::1", "::ffff:127.0.0.1", "[::ffff:127.0.0.1]:80", "[::1]:8000"])
def test_loopback_addresses(text: str) -> None:
    assert is_loopback(text)


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("10.1.2.3/8", "10.0.0.0/8"),
        (" ::ffff:10.1.2.3 ", "10.1.2.3/32"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("::/0", "::/0"),
        ("2001:db8::1/32", "2001:db8::/32"),
    ],
)
def test_every_notation_of_a_network_is_normalized(text: str, network: str) -> None:
    assert str(normalize_network(text)) == network


@pytest.mark.parametrize("text", ["", "localhost", "10.0.0.0/33", "fe80::1%eth0", "[::1]", "10.0.0.1:80"])
def test_an_invalid_network_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        normalize_network(text)
