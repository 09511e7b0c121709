"""Hostile URLs: none is fetched, whatever notation it uses."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.core.errors import OutboundRefused
from shared.core.settings import Settings
from shared.safe_http import OutboundPolicy, SafeHttpClient, check_url, policy_from_settings
from shared.safe_http.addresses import is_public
from shared.safe_http.url_check import parse_url

STRICT = OutboundPolicy(http=True)

ADDRESSES_INSIDE = [
    "127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",
    "100.64.0.1", "169.254.169.254", "169.254.170.2", "192.0.0.192", "192.0.2.1", "198.18.0.1", "198.51.100.7", "203.0.113.9",
    "192.88.99.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::ffff:0:127.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::1",
    "2002:7f00:1::", "2002:0808:0808::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:db8::1", "2001:10::1", "3fff::1",
    "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%1", "fec0::1", "ff02::1", "100::1", "5f00::1", "4000::1",
]  # fmt: skip
ADDRESSES_OUTSIDE = [
    "8.8.8.8",
    "1.1.1.1",
    "100.63.255.255",
    "100.128.0.1",
    "172.32.0.1",
    "11.0.0.1",
    "169.253.1.1",
    "223.255.255.255",
]
ADDRESSES_OUTSIDE += ["2606:4700:4700::1111", "2a00:1450:4001::200e", "2001:4860:4860::8888", "2400:cb00::1"]

HOSTILE = [
    *(f"http://[{address}]/" if ":" in address else f"http://{address}/" for address in ADDRESSES_INSIDE),
    # Unusual notations of 127.0.0.1
    "http://127.1/", "http://127.0.1/", "http://2130706433/", "http://0x7f000001/", "http://0x7f.0x0.0x0.0x1/", "http://0177.0.0.1/",
    "http://017700000001/", "http://127.0.0.1./", "http://127.000.000.001/", "http://0/", "http://①②⑦.⓪.⓪.①/", "http://127。0。0。1/",
    "http://１２７.０.０.１/", "http://[::ffff:7f00:1]/", "http://[0:0:0:0:0:ffff:127.0.0.1]/", "http://[::1%25lo]/", "http://%31%32%37.0.0.1/",
    # Names of this machine
    "http://localhost/", "http://LOCALHOST/", "http://localhost./",
    # Ambiguous hosts
    "http://user@example.com/", "http://user:secret@example.com/", "http://@example.com/", "http://example.com@127.0.0.1/",
    "http://127.0.0.1\\@example.com/", "http://example.com\\.127.0.0.1/", "http:\\\\127.0.0.1/", "http://127.0.0.1#@example.com/",
    "http://127.0.0.1?@example.com/", "http:///127.0.0.1/", "http:127.0.0.1/", "http://", "http:///", "//127.0.0.1/", "127.0.0.1",
    "",
    # Smuggling
    "http://example.com/\r\nHost: 127.0.0.1", "http://exam\tple.com/", "http://example.com/a b", " http://example.com/", "http://example.com/\0",
    "http://example.com\n.127.0.0.1/", "\x01http://example.com/", "http://exa\x7fmple.com/",
    # Other schemes
    "file:///etc/passwd", "ftp://example.com/", "gopher://example.com:6379/_x", "data:text/html,x", "javascript:alert(1)", "unix:///run/x",
    "HTTPX://example.com/", "ws://example.com/", "ldap://example.com/", "dict://example.com:11211/",
    # Ports
    "http://8.8.8.8:8080/", "http://8.8.8.8:22/", "https://8.8.8.8:80/", "http://8.8.8.8:443/", "http://example.com:6379/",
    "http://example.com:0/", "http://example.com:65536/", "http://example.com:-1/", "http://example.com:8 0/", "http://example.com:٨٠/",
    # Not a host
    "http://.example.com/", "http://exam..ple.com/", "http://" + "a" * 64 + ".com/", "http://[", "http://]/", "http://[::1", "http://[v1.x]/",
    "http://exa<mple.com/", "http://*.example.com/", "http://example.com/" + "a" * 9_000,
]  # fmt: skip


@pytest.mark.parametrize("url", HOSTILE)
def test_a_hostile_url_is_rejected_without_a_connection(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*_: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr("socket.socket.connect", connect)
    client = SafeHttpClient(STRICT)
    for send in (lambda: client.get(url, max_bytes=1), lambda: client.post(url, b"", max_bytes=1)):
        with pytest.raises(OutboundRefused) as caught, send():
            pass
        assert "127.0.0.1" not in str(caught.value)
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", [url for url in HOSTILE if "localhost" not in url.lower()])
def test_urls_that_need_no_resolution_are_rejected_at_submission(url: str) -> None:
    with pytest.raises(OutboundRefused):
        check_url(url, STRICT)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com", "https://example.com/a?b=c&d=%20#e", "https://example.com:443/", "http://8.8.8.8/", "http://[2606:4700::1111]/",
        "https://bücher.example/ü?q=ü", "HTTPS://EXAMPLE.COM/", "https://a_b.example.com/", "https://example.com./", "https://1.example.com",
        "https://xn--bcher-kva.example/", "https://example.com/signed?X-Amz-Signature=ab%2Fcd+ef==",
    ],
)  # fmt: skip
def test_ordinary_urls_are_accepted(url: str) -> None:
    check_url(url, STRICT)


def test_the_url_is_sent_unchanged() -> None:
    target = parse_url("https://Bücher.example/ü/a%2Fb?q=ü&r=a+b%20c==#part")
    assert (target.host, target.authority) == ("xn--bcher-kva.example", "xn--bcher-kva.example")
    assert target.path == "/%C3%BC/a%2Fb?q=%C3%BC&r=a+b%20c=="
    assert parse_url("http://[2606:4700::1111]:8080").authority == "[2606:4700::1111]:8080"


@pytest.mark.parametrize("address", ADDRESSES_INSIDE)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", ADDRESSES_OUTSIDE)
def test_addresses_that_are_public(address: str) -> None:
    assert is_public(ip_address(address))


@given(st.ip_addresses())
def test_no_special_address_of_ipaddress_is_public(address) -> None:
    special = (
        address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified or address.is_reserved
    )
    assert not (is_public(address) and (special or address.is_private))


@given(st.text(max_size=60))
def test_no_text_raises_another_error(text: str) -> None:
    with contextlib.suppress(OutboundRefused):
        check_url("http://" + text, STRICT)


def test_http_in_production_must_be_allowed(make_settings: Callable[..., Settings]) -> None:
    production = policy_from_settings(make_settings(environment="production"))
    with pytest.raises(OutboundRefused, match="https://"):
        check_url("http://example.com/", production)
    with pytest.raises(OutboundRefused):
        check_url("http://8.8.8.8/", production)
    check_url("https://example.com/", production)
    check_url("http://example.com/", policy_from_settings(make_settings()))
    check_url("http://example.com/", policy_from_settings(make_settings(environment="production", outbound_http=True)))


def test_allowed_networks_are_reachable_on_any_port() -> None:
    policy = OutboundPolicy(networks=(ip_network("10.1.0.0/16"), ip_network("fd00::/8")))
    check_url("http://10.1.2.3:9000/bucket", policy)
    check_url("http://[fd00::1]:9000/", policy)
    for url in ("http://10.2.0.1/", "http://127.0.0.1/", "http://[::ffff:10.1.2.3]/", "https://8.8.8.8:9000/"):
        with pytest.raises(OutboundRefused):
            check_url(url, policy)
