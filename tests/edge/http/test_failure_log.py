"""Internal errors are logged with their cause, and without content that callers sent."""

from __future__ import annotations

import http.client
from contextlib import closing
from typing import Any

import psycopg
import pytest

from shared.core.errors import SettingsError
from shared.core.failure_report import describe_failure
from shared.core.secrets import seal
from tests import factories
from tests.edge.http_calls import chat
from tests.servers.edge import WebProcess

CANARY = "a lighthouse in the fog"


def get(edge: WebProcess, path: str, secret: str) -> http.client.HTTPResponse:
    with closing(http.client.HTTPConnection("127.0.0.1", edge.port, timeout=30)) as connection:
        connection.request("GET", path, headers={"authorization": f"Bearer {secret}"})
        return connection.getresponse()


def test_a_failure_report_contains_no_caller_content() -> None:
    try:
        try:
            int(CANARY)
        except ValueError as error:
            raise SettingsError("SECRET_KEY is wrong.") from error
    except SettingsError as error:
        text = describe_failure(error)
    assert text.startswith("SettingsError: SECRET_KEY is wrong.\n  tests/edge/http/test_failure_log.py:")
    assert "\ncaused by ValueError\n" in text
    assert "lighthouse" not in text


@pytest.mark.parametrize("any_database_url", ["postgresql"], indirect=True)
def test_an_internal_error_is_logged_with_its_cause(
    bound_database: Any, any_database_url: str, redis_url: str, upstream: Any, start_edge: Any
) -> None:
    _, secret = factories.api_key(factories.account())
    edge = start_edge(database_url=any_database_url, redis_url=redis_url)
    with psycopg.connect(any_database_url, autocommit=True) as owner:
        owner.execute("ALTER TABLE share RENAME COLUMN title TO heading")
    failed = get(edge, "/api/chat/share/", secret)
    assert failed.status == 500
    output = edge.process.output()
    assert f"{failed.headers['x-request-id']} failed with an internal error: " in output
    assert "42703" in output  # undefined_column
    assert "edge/api/share.py" in output


@pytest.mark.parametrize("any_database_url", ["sqlite"], indirect=True)
def test_calls_skip_a_channel_whose_secret_cannot_be_decrypted(
    bound_database: Any, any_database_url: str, redis_url: str, upstream: Any, start_edge: Any
) -> None:
    _, secret = factories.api_key(factories.account())
    good, stale = factories.channel(upstream.url), factories.channel(upstream.url)
    stale.sealed_secret = seal("sk-1", "another secret key of more than 32 characters")
    stale.save()
    factories.model("both", stale, good)
    factories.model("stale", stale)
    edge = start_edge(database_url=any_database_url, redis_url=redis_url)
    assert "1 channel secrets were encrypted with another SECRET_KEY" in edge.process.output()
    assert chat(edge, secret, model="both").status == 200
    refused = chat(edge, secret, model="stale")
    assert (refused.status, refused.code) == (503, "no_upstream_available")
    assert f"channel {stale.id}: A channel secret was encrypted with another SECRET_KEY" in edge.process.output()
