"""Schemathesis against a real edge: requests that match the OpenAPI document, or just miss it, get documented responses, never a
500.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import CHECKS
from schemathesis.generation import GenerationMode

from shared.core.database import bind_database, database
from shared.identity.admin_scopes import ALL
from shared.models import Plan, Subscription
from shared.operations.admin_keys import create_admin_key
from tests import factories
from tests.databases import opened
from tests.servers.edge import environment_of, start_edge
from tests.upstream import Upstream

EXAMPLES = 12
OF_THE_CLIENT = ("content-length", "content-encoding", "transfer-encoding")  # a wrong one is refused before there is an operation
# Rejection of invalid data is not checked: unknown fields are forwarded to providers, and null means omitted.
NAMES = ("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance")


class Target:
    """An edge, its OpenAPI document, a key on a plan with every feature, and an admin key with every scope."""

    def __init__(self, url: str, secret: str, admin_secret: str) -> None:
        self.url, self._secret, self._admin_secret = url, secret, admin_secret
        self.document: dict[str, Any] = requests.get(f"{url}/openapi.json", timeout=30).json()
        for path, methods in self.document["paths"].items():  # use existing models; otherwise most calls end as 404
            body = methods.get("post", {}).get("requestBody")
            properties = next(iter(body["content"].values()))["schema"]["properties"] if body else {}
            if "model" in properties:
                properties["model"] = {"enum": ["image-1" if path.endswith("/image/") else "m-1"]}

    def headers(self, path: str) -> dict[str, str]:
        """The headers of a request to `path`."""
        return {"authorization": f"Bearer {self._admin_secret if path.startswith('/api/admin/') else self._secret}"}


@pytest.fixture(scope="module")
def target(migrated_sqlite: Path, redis_servers: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder = tmp_path_factory.mktemp("reference")
    path = folder / "yout.db"
    path.write_bytes(migrated_sqlite.read_bytes())
    upstream = Upstream()
    with opened(f"sqlite:///{path}") as target:
        bind_database(target)
        owner = factories.account()
        Subscription.create(account=owner, plan=Plan.create(name="All", stores_content=True))
        channel = factories.channel(upstream.url)
        factories.model("m-1", channel)
        factories.model("image-1", channel, kind="image", per_call=10)
        secret = factories.api_key(owner)[1]
        environ = environment_of(
            {"database_url": f"sqlite:///{path}", "redis_url": redis_servers("valkey").url, "data_dir": folder}
        )
        edge = start_edge(folder, environ)
        yield Target(edge.url, secret, create_admin_key("all", [ALL], origin=factories.ORIGIN).secret)
        edge.kill()
        upstream.close()
        database.initialize(None)


def test_every_operation_responds_as_documented(target: Target) -> None:
    schema = schemathesis.openapi.from_dict(target.document)
    checks = [CHECKS.get_one(name) for name in NAMES]
    tried: dict[str, int] = {}
    operations = [result.ok() for result in schema.get_all_operations()]
    for operation in sorted(operations, key=lambda one: "purge" in one.label):  # the purge last: it blocks storing content
        try_all(operation, GenerationMode.POSITIVE, target, checks, tried)
        with suppress(Unsatisfiable):  # nothing can be invalid if nothing is sent
            try_all(operation, GenerationMode.NEGATIVE, target, checks, tried)
    assert len(tried) == sum(len(methods) for methods in target.document["paths"].values())
    assert min(tried.values()) >= 1


def try_all(operation: Any, mode: GenerationMode, target: Target, checks: list[Any], tried: dict[str, int]) -> None:
    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        deadline=None,
        database=None,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    def once(case: Any) -> None:
        for name in [name for name in case.headers or () if name.lower() in OF_THE_CLIENT]:
            del case.headers[name]
        response = case.call(base_url=target.url, headers=target.headers(case.path), timeout=30)
        case.validate_response(response, checks=checks)
        tried[operation.label] = tried.get(operation.label, 0) + 1

    once()
