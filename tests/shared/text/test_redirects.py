"""Redirects stay on the site."""

from __future__ import annotations

import pytest

from shared.text.redirects import safe_redirect


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
