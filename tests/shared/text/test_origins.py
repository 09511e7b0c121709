"""Detecting requests that a browser made from a page of another site."""

from __future__ import annotations

import pytest

from shared.text.origins import host_of, is_cross_origin

HOSTS = ("yout.example", "public.example:8443", "")


@pytest.mark.parametrize(
    ("origin", "fetch_site", "foreign"),
    [
        ("https://yout.example", "", False),
        ("http://yout.example", "", False),
        ("https://YOUT.example:443", "", False),
        ("http://yout.example:80", "", False),
        ("https://yout.example:80", "", True),
        ("https://public.example:8443", "", False),
        ("https://public.example", "", True),
        ("https://evil.example", "same-origin", True),
        ("https://yout.example.evil.example", "", True),
        ("null", "", True),
        ("yout.example", "", True),
        ("", "", False),
        ("", "same-origin", False),
        ("", "none", False),
        ("", "same-site", True),
        ("", "cross-site", True),
    ],
)
def test_a_cross_site_request_is_detected_by_its_headers(origin: str, fetch_site: str, foreign: bool) -> None:
    assert is_cross_origin(origin, fetch_site, HOSTS) is foreign


def test_a_default_port_may_be_explicit() -> None:
    assert not is_cross_origin("https://yout.example", "", ("yout.example:443",))
    assert is_cross_origin("http://yout.example", "", ("yout.example:443",))
    assert host_of("https://yout.example:8443/x") == "yout.example:8443"
