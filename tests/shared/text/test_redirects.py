"""Redirects stay on the site."""

from __future__ import annotations

import pytest

from shared.text.redirects import referring_path, safe_redirect


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "/a\nb",
        "javascript:alert(1)",
        "x",
        "",
        None,
    ],
)
def test_a_redirect_never_leaves_the_site(target: str | None) -> None:
    assert safe_redirect(target, "/account") == "/account"


@pytest.mark.parametrize("target", ["/", "/account/keys?x=1", "/models/org/m:1#price"])
def test_a_path_of_the_site_is_kept(target: str) -> None:
    assert safe_redirect(target, "/account") == target


@pytest.mark.parametrize(
    ("referer", "expected"),
    [
        ("https://yout.example/calls?model=m-1", "/calls?model=m-1"),
        ("https://yout.example/", "/"),
        ("https://yout.example", "/"),
        ("https://evil.example/calls", "/"),
        ("https://yout.example//evil.example", "/"),
        ("https://yout.example:8443/calls", "/"),
        ("https://[", "/"),
        ("", "/"),
    ],
)
def test_the_page_that_sent_a_request_is_one_of_the_site(referer: str, expected: str) -> None:
    assert referring_path(referer, "yout.example") == expected
