"""The role × route matrix: every route is in the table, and each role may use exactly the routes that its permissions name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from edge.app import create_app
from edge.identity.route_permissions import ADMIN_PATH, NEEDS, Need, is_allowed
from shared.core.settings import Settings
from shared.identity.roles import ASSIGNABLE_ROLES, OWNER, ROLES


def routes_of(app: Any) -> set[str]:
    return {
        f"{method} {rule.rule}"
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if rule.endpoint != "static" and not rule.rule.startswith(ADMIN_PATH)
    }


def test_every_route_says_what_it_needs(make_settings: Callable[..., Settings]) -> None:
    assert routes_of(create_app(make_settings())) == set(NEEDS)


def needs_of(role: str) -> set[Need]:
    return {need for route, need in NEEDS.items() if is_allowed(role, *route.split(" ", 1))}


@pytest.mark.parametrize(
    ("role", "needs"),
    [
        (OWNER, {"read", "call", "keys", "all_keys", "pay", "members", "account"}),
        ("admin", {"read", "call", "keys", "all_keys", "pay", "members"}),
        ("billing", {"read", "pay"}),
        ("developer", {"read", "call", "keys"}),
        ("viewer", {"read"}),
        ("a role of a later release", set()),
    ],
)
def test_a_role_may_use_the_routes_of_its_permissions(role: str, needs: set[Need]) -> None:
    assert needs_of(role) == needs | {"public", "self"}


def test_an_unlisted_route_is_the_owners() -> None:
    assert [role for role in ROLES if is_allowed(role, "POST", "/account/new")] == [OWNER]
    assert OWNER not in ASSIGNABLE_ROLES


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS"])
def test_head_needs_what_get_needs(method: str) -> None:
    assert is_allowed("viewer", method, "/account/usage")
    assert not is_allowed("viewer", method, "/account/keys")
