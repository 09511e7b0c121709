"""Log lines: the same JSON fields in every process, text if requested, and one line each for the start and end of an outage."""

from __future__ import annotations

import io
import json
import logging
import time
from collections.abc import Callable
from uuid import UUID

import pytest

from shared.core.availability import Availability
from shared.core.errors import SettingsError
from shared.core.log_format import JsonFormatter, log_formatter, writes_json
from shared.core.settings import Settings

ACCOUNT = UUID(int=1)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def record(message: str, *arguments: object, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("yout.edge", logging.WARNING, __file__, 1, message, arguments, None)
    made.created = 1_796_026_974.5
    vars(made).update(extra)
    return made


def test_a_json_line() -> None:
    line = JsonFormatter("edge").format(record("%s\n%s", "two", "lines", account=ACCOUNT, http_status=503, secret="x"))
    assert json.loads(line) == {
        "time": "2026-11-30T08:22:54.500000Z",
        "level": "warning",
        "logger": "yout.edge",
        "process": "edge",
        "message": "two\nlines",
        "account": str(ACCOUNT),
        "http_status": 503,
    }
    assert "\n" not in line


def test_a_traceback_is_in_the_same_line() -> None:
    try:
        raise ValueError("wrong")
    except ValueError as error:
        failed = record("it failed")
        failed.exc_info = (ValueError, error, error.__traceback__)
    line = JsonFormatter("worker").format(failed)
    assert json.loads(line)["exception"].endswith("ValueError: wrong")
    assert "\n" not in line


@pytest.mark.parametrize(
    ("chosen", "stream", "expected"),
    [("", io.StringIO(), True), ("", Terminal(), False), ("json", Terminal(), True), ("text", io.StringIO(), False)],
)
def test_when_lines_are_json(make_settings: Callable[..., Settings], chosen: str, stream: io.StringIO, expected: bool) -> None:
    assert writes_json(make_settings(log_format=chosen), stream) is expected


def test_text(make_settings: Callable[..., Settings]) -> None:
    assert log_formatter(make_settings(log_format="text"), "edge").format(record("it failed")) == "WARNING yout.edge: it failed"
    with pytest.raises(SettingsError, match="YOUT_LOG_FORMAT must be json or text"):
        make_settings(log_format="xml")


def test_an_outage_and_its_end_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    server = Availability("The database", "retrying")
    before = time.monotonic()
    server.failed("connection lost")
    server.failed("connection refused")
    server.succeeded(before)  # started before the outage
    assert not server.is_available
    server.succeeded(time.monotonic())
    server.succeeded()
    server.failed("a slow operation of the former outage", before)
    assert [(line.levelname, line.getMessage()) for line in caplog.records] == [
        ("ERROR", "The database is unavailable (connection lost); retrying"),
        ("INFO", "The database is available again after 0 s"),
    ]
