"""Base URL of links: the operator's or a trusted proxy's, else the connection's address; never an untrusted Host header."""

from __future__ import annotations

from typing import Any

import pytest

from edge.http.public_url import public_url

CLIENT, ROUTER = ("203.0.113.7", 5000), ("10.0.0.1", 5000)
HOST = {"host": "evil.example"}
FORWARDED = {"host": "evil.example", "x-forwarded-host": "chat.example.com", "x-forwarded-proto": "https"}


@pytest.mark.parametrize(
    ("settings", "client", "server", "headers", "expected"),
    [
        ({"public_url": "https://yout.example/"}, ROUTER, None, FORWARDED, "https://yout.example"),
        ({}, CLIENT, ("127.0.0.1", 8000), HOST, "http://127.0.0.1:8000"),
        ({"bind_host": "192.0.2.1"}, CLIENT, ("192.0.2.1", 8000), FORWARDED, "http://192.0.2.1:8000"),
        ({"bind_host": "0.0.0.0"}, CLIENT, ("192.0.2.9", 8000), FORWARDED, "http://192.0.2.9:8000"),
        ({"bind_host": "::"}, CLIENT, ("::ffff:192.0.2.9", 8000), HOST, "http://192.0.2.9:8000"),
        ({"bind_host": "::"}, CLIENT, ("2001:db8::1", 8000), HOST, "http://[2001:db8::1]:8000"),
        ({"bind_host": "0.0.0.0"}, CLIENT, None, HOST, "http://127.0.0.1:8000"),
        ({}, ROUTER, None, FORWARDED, "https://chat.example.com"),
        ({}, ("::ffff:10.0.0.1", 1), None, FORWARDED, "https://chat.example.com"),
        ({}, ROUTER, None, {"host": "h", "x-forwarded-host": "yout_edge:8443"}, "http://yout_edge:8443"),
        ({}, ROUTER, None, {"host": "chat.example.com:8443"}, "http://chat.example.com:8443"),
        ({}, ROUTER, None, {"host": "h", "x-forwarded-host": "evil.example, [2001:db8::1]:1"}, "http://[2001:db8::1]:1"),
        ({}, ROUTER, None, {"host": "h", "x-forwarded-proto": "https, http"}, "http://h"),
        ({}, ROUTER, None, {"host": "evil.example/@x", "x-forwarded-proto": "https"}, "http://127.0.0.1:8000"),
        ({}, ROUTER, None, {}, "http://127.0.0.1:8000"),
        ({}, None, None, FORWARDED, "http://127.0.0.1:8000"),
    ],
)
def test_base_url_of_links(
    make_settings: Any, settings: dict[str, Any], client: Any, server: Any, headers: dict[str, str], expected: str
) -> None:
    made = make_settings(secret_key="s" * 40, trusted_proxies=("10.0.0.0/8",), edge_port=8000, **settings)
    assert public_url(made, {"client": client, "server": server}, headers) == expected
