"""The OpenAPI document and its page: every route is included, and the examples work when pasted."""

from __future__ import annotations

import html
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peewee
import pytest
import requests
from quart import Blueprint

from edge.app import ENDPOINTS, create_app
from edge.call.endpoint_adapter import EndpointAdapter
from edge.http.api_spec import integer, nullable
from edge.http.errors import ERROR_SPECS
from edge.http.errors import error_spec as face_of
from edge.reference.document import HIDDEN_BLUEPRINTS, OWN_CODES, error_codes, openapi, routes_of
from edge.reference.examples import Call, examples, fill_models
from shared.core import errors
from shared.core.settings import Settings
from tests import factories
from tests.servers.edge import WebProcess
from tests.servers.node import NODE
from tests.upstream import Upstream

StartWeb = Callable[..., WebProcess]


@pytest.fixture
def app(make_settings: Callable[..., Settings]) -> Any:
    return create_app(make_settings())


def test_every_route_has_a_spec(app: Any) -> None:
    routes = list(routes_of(app, ENDPOINTS))
    assert [route for route in routes if route.declaration is None] == []
    assert {route.path for route in routes} >= {"/v1/chat/completions", "/api/chat/stream/", "/api/media/image/", "/c/{slug}"}
    documented = {
        (method.upper(), path) for path, methods in openapi(app, ENDPOINTS, "http://x")["paths"].items() for method in methods
    }
    assert documented == {(route.method, route.path) for route in routes}


def test_a_route_without_a_spec_is_detected(app: Any) -> None:
    extra = Blueprint("extra", __name__)

    @extra.get("/api/extra/")
    async def view() -> str:
        return ""

    app.register_blueprint(extra)
    assert [route.path for route in routes_of(app, ENDPOINTS) if route.declaration is None] == ["/api/extra/"]


def test_only_html_pages_are_excluded(app: Any) -> None:
    outside = {rule.rule for rule in app.url_map.iter_rules() if rule.endpoint.split(".")[0] in HIDDEN_BLUEPRINTS}
    assert not [path for path in outside if path.startswith(("/v1", "/api"))]


def test_statuses_and_codes_match_the_error_table() -> None:
    assert error_codes((errors.InvalidApiKey, errors.RateLimited, errors.UpstreamTimeout)) == {
        401: ["invalid_api_key"],
        429: ["rate_limit_exceeded"],
        504: ["upstream_timeout"],
    }
    assert set(error_codes((errors.IdempotencyConflict,))) == {409, 400}
    for kind, face in ERROR_SPECS.items():
        assert face.code or kind in OWN_CODES


@pytest.mark.parametrize("endpoint", ENDPOINTS.values(), ids=ENDPOINTS)
def test_every_503_has_retry_after(endpoint: EndpointAdapter) -> None:
    kinds = [kind for kind in (errors.Unavailable, *descendants(errors.Unavailable)) if face_of(kind()).status == 503]
    assert {errors.DatabaseUnavailable, errors.StorageUnavailable, errors.ServerStopping, errors.SettlementPending} < set(kinds)
    for kind in kinds:
        assert dict(endpoint.render_error(kind(), "req_1").headers)[b"retry-after"].isdigit(), kind
    assert b"retry-after" not in dict(endpoint.render_error(errors.InvalidApiKey(), "req_1").headers)


def descendants(kind: type[Exception]) -> list[type[Exception]]:
    return [found for child in kind.__subclasses__() for found in (child, *descendants(child))]


def test_schemas_describe_every_field() -> None:
    assert nullable(integer(1, 2)) == {"type": ["integer", "null"], "minimum": 1, "maximum": 2}
    assert fill_models({"model": "$model", "of": ["$image"]}, {"chat": "c"}) == {"model": "c", "of": ["a-image-model"]}


SHELLS = {"curl": "curl", "Python": sys.executable, "Node": str(NODE)}


@pytest.fixture
def open_edge(
    bound_database: peewee.Database, any_database_url: str, redis_url: str, upstream: Upstream, start_edge: StartWeb
) -> tuple[WebProcess, str]:
    secret = factories.api_key(factories.account())[1]
    factories.model("m-1", factories.channel(upstream.url))
    return start_edge(database_url=any_database_url, redis_url=redis_url), secret


@pytest.mark.parametrize("any_database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("language", SHELLS)
def test_examples_work_when_pasted(open_edge: tuple[WebProcess, str], language: str, tmp_path: Path) -> None:
    program = shutil.which(SHELLS[language])
    if program is None:
        missing = f"{SHELLS[language]} is not installed"
        if os.environ.get("CI"):
            pytest.fail(f"{missing}, and CI must run the examples for it")
        pytest.skip(missing)
    edge, secret = open_edge
    for section, operation, expected in (
        ("chat-completions", "post_v1_chat_completions", '"credits_charged"'),
        ("native", "post_api_chat_stream", '"done":true'),
        ("native", "get_api_chat_limit", '"balance"'),
        ("native", "post_api_chat_keys", '"secret"'),
    ):
        page = requests.get(f"{edge.url}/docs/reference/{section}", timeout=30).text
        done = run(language, program, example_of(page, operation, language), secret, tmp_path)
        assert (done.returncode, expected in done.stdout) == (0, True), (operation, done.stdout, done.stderr)


def example_of(page: str, operation: str, language: str) -> str:
    """The example as a reader would copy it."""
    article = page.split(f'<article id="{operation}">')[1].split("</article>")[0]
    found = re.search(rf"<h3>{language}</h3><pre[^>]*><code>(.*?)</code>", article, re.S)
    assert found, article
    return html.unescape(found[1])


def run(language: str, program: str, code: str, secret: str, folder: Path) -> subprocess.CompletedProcess[str]:
    arguments = {
        "curl": ["sh", "-c", code],
        "Python": [program, "-c", code],
        "Node": [program, "--input-type=module", "-e", code],
    }
    environ = {"PATH": os.environ["PATH"], "YOUT_API_KEY": secret}
    return subprocess.run(arguments[language], env=environ, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def test_awkward_values_are_quoted() -> None:
    made = examples(Call("POST", "http://x/y", {"a": "it's", "b": [True, None]}, key_variable="KEY", streams=False))
    assert "it'\\''s" in made["curl"]
    assert "{'a': \"it's\", 'b': [True, None]}" in made["Python"]
    assert '{"a": "it\'s", "b": [true, null]}' in made["Node"]
