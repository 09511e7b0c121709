"""What holds for every route of the administration API: scopes, keys, and the reference."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from edge.admin.route import scope_of
from edge.app import ENDPOINTS, create_app
from edge.identity.route_permissions import is_allowed
from edge.reference.document import openapi
from shared.core.clock import new_id
from shared.core.settings import Settings
from shared.identity.admin_scopes import ALL, SCOPES
from shared.identity.api_key_format import ADMIN_PREFIX, new_key
from shared.identity.roles import ROLES
from shared.models import AdminKey
from tests import factories
from tests.edge.admin.conftest import AdminStack


class Route(NamedTuple):
    """A route of the administration API. `scope` is None if it has none."""

    method: str
    rule: str
    scope: str | None

    @property
    def path(self) -> str:
        """The path with an unknown id for each parameter."""
        return re.sub(r"<[^>]*>", lambda _: str(new_id()), self.rule)


def routes(app: Any) -> list[Route]:
    return [
        Route(method, rule.rule, scope_of(app.view_functions[rule.endpoint]))
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith("/api/admin")
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
    ]


@pytest.fixture
def app(make_settings: Callable[..., Settings]) -> Any:
    return create_app(make_settings())


def test_every_route_requires_a_known_scope(app: Any) -> None:
    found = routes(app)
    assert len(found) >= 5
    assert [route for route in found if route.scope not in SCOPES] == []
    assert [route for route in found if (route.method == "GET") != str(route.scope).endswith(":read")] == []


def test_no_role_of_a_member_is_for_the_administration_api(app: Any) -> None:
    assert not any(is_allowed(role, route.method, route.rule) for route in routes(app) for role in ROLES)


def test_the_reference_lists_every_route_with_a_tag_of_its_own(app: Any) -> None:
    documented = {
        (method.upper(), path): operation
        for path, methods in openapi(app, ENDPOINTS, "http://x")["paths"].items()
        for method, operation in methods.items()
        if operation["tags"] == ["api/admin"]
    }
    assert documented.keys() == {(route.method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", route.rule)) for route in routes(app)}
    for (method, _), operation in documented.items():
        assert operation["security"] == [{"admin_key": []}]
        assert {"401", "403", "429", "503"} <= operation["responses"].keys()
        body = operation.get("requestBody")
        assert body is None or body["content"]["application/json"]["schema"]["examples"], operation["operationId"]
        assert (method == "POST") == ("409" in operation["responses"])


def test_each_scope_opens_exactly_its_routes(app: Any, stack: AdminStack) -> None:
    """The requests name unknown ids or lack fields, so that nothing changes: the scope is checked first."""
    for scope in SCOPES:
        client = stack.client(scope)
        for route in routes(app):
            reply = stack.request(route.method, route.path, b"[]", {"authorization": f"Bearer {client.secret}"})
            if route.scope == scope:
                assert reply.status in (200, 400, 404), (scope, route, reply.body)
            else:
                refusal = reply.status, reply.error["code"], reply.error["message"]
                assert refusal == (403, "insufficient_scope", f"This admin key does not have the scope '{route.scope}'."), route
    everything = stack.client(ALL)
    for route in routes(app):
        reply = stack.request(route.method, route.path, b"[]", {"authorization": f"Bearer {everything.secret}"})
        assert reply.status in (200, 400, 404), (route, reply.body)


def test_only_admin_keys_are_accepted(app: Any, stack: AdminStack) -> None:
    customer = factories.api_key(factories.account(), can_manage=True)[1]
    for secret in (customer, new_key(ADMIN_PREFIX).secret, "yout-admin-x", None):
        headers = {"authorization": f"Bearer {secret}"} if secret else {"cookie": "yout_session=x"}
        for route in routes(app):
            reply = stack.request(route.method, route.path, b"[]", headers)
            assert (reply.status, reply.error["code"]) == (401, "invalid_api_key"), (secret, route)
            assert "yout-admin-" in reply.error["message"]


def test_admin_keys_are_refused_elsewhere(app: Any, stack: AdminStack) -> None:
    """Every other route that takes a key answers 401."""
    secret, tried = stack.client().secret, 0
    for path, methods in openapi(app, ENDPOINTS, "http://x")["paths"].items():
        for method, operation in methods.items():
            if {"key": []} not in operation["security"]:
                continue
            place = re.sub(r"{\w+}", str(new_id()), path)
            for headers in ({"authorization": f"Bearer {secret}"}, {"x-api-key": secret}):
                reply = stack.request(method.upper(), place, b"{}", headers)
                assert reply.status == 401, (method, path, reply.body)
                tried += 1
    assert tried > 60


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/plans/", {"name": "free", "allowed_models": ["any", "a\0b"]}, "allowed_models"),
        (
            "/channels/",
            {"name": "c", "dialect": "openai", "base_url": "https://a.example", "settings": {"a": {"\0": 1}}},
            "settings",
        ),
        ("/models/", {"id": "m", "channel": "a\0b", "price": {}}, "channel"),
        ("/prices/", {"model": "a\0b"}, "model"),
        ("/routes/", {"model": "m", "channel": "\0"}, "channel"),
        ("/routes/", {"model": "m", "channel": "c", "a\0b": "x"}, "a\ufffdb"),
    ],
)
def test_a_body_with_a_nul_character_is_refused(stack: AdminStack, path: str, body: dict[str, Any], param: str) -> None:
    refused = stack.client().post(path, body)
    assert (refused.status, refused.error["param"]) == (400, param)
    assert "NUL" in refused.error["message"]


def test_secrets_are_in_no_log(stack: AdminStack) -> None:
    client = stack.client()
    assert client.get("/accounts/").status == 200
    assert client.post("/accounts/", {"email": "x"}, idempotency_key=client.secret).status == 400
    assert client.get(f"/accounts/{client.secret}/").status == 404
    assert "yout-admin-" not in stack.logs()
    assert client.secret not in json.dumps(list(AdminKey.select().dicts()), default=str)
