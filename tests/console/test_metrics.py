"""The console's `/metrics`."""

from __future__ import annotations

import pytest
from flask import Flask

from console.app import create_app
from console.metrics import ConsoleMetrics
from tests.console.conftest import Browser

pytestmark = pytest.mark.parametrize("any_database_url", ["sqlite"], indirect=True)


def test_requests_and_refunds_are_counted_without_a_sign_in(app: Flask, browser: Browser) -> None:
    assert [browser.get(path).status_code for path in ("/", "/login", "/nowhere", "/healthz")] == [303, 200, 303, 200]
    with app.app_context():
        app.extensions["yout_metrics"].record_refund(60)
    text = browser.get("/metrics").text
    for line in (
        'yout_console_requests_total{endpoint="auth.sign_in",status="200"} 1.0',
        'yout_console_requests_total{endpoint="unmatched",status="303"} 1.0',
        "yout_console_request_seconds_count 4.0",
        "yout_credits_refunded_total 60.0",
        'yout_build_info{process="console"',
    ):
        assert line in text


def test_only_the_operator_may_read_them(app: Flask, browser: Browser, make_settings) -> None:
    assert browser.get("/metrics", headers={"x-forwarded-for": "127.0.0.1"}).status_code == 404
    assert browser.get("/metrics", environ_base={"REMOTE_ADDR": "192.0.2.1"}).status_code == 404
    protected = Browser(create_app(make_settings(metrics_token="t" * 20), ConsoleMetrics()).test_client())
    assert protected.get("/metrics").status_code == 404
    assert protected.get("/metrics", headers={"authorization": f"Bearer {'t' * 20}"}).status_code == 200
