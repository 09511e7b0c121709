"""The format of log lines: JSON with the same fields in every process, or text for a terminal."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Any, TextIO

import orjson

from shared.core.settings import Settings

TEXT = "%(levelname)s %(name)s: %(message)s"
# Fields about the call or job that a line may have besides the message: ids and codes, never content. Set with `extra={…}`.
FIELDS = (
    *("request_id", "account", "key", "model", "channel", "surface", "status", "error", "http_status", "provider_status"),
    *("job", "mail", "purge"),
)


def writes_json(settings: Settings, stream: TextIO | None = None) -> bool:
    """Return whether lines are JSON: if `YOUT_LOG_FORMAT` says so, or if it is not set and `stream` is not a terminal."""
    return settings.log_format == "json" or (not settings.log_format and not (stream or sys.stderr).isatty())


def log_formatter(settings: Settings, process: str) -> logging.Formatter:
    """Return the formatter of this process, which is named `process` in JSON lines."""
    return JsonFormatter(process) if writes_json(settings) else logging.Formatter(TEXT)


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON. A traceback is in the field `exception`."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        fields = {name: value for name in FIELDS if (value := getattr(record, name, None)) is not None}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        line = json_line(self._process, record.created, record.levelname.lower(), record.name, record.getMessage(), fields)
        return line.decode()


def json_line(process: str, at: float, level: str, logger: str, message: str, fields: dict[str, Any]) -> bytes:
    """Return a line of JSON without the newline. `at` is in seconds since 1970."""
    time = datetime.fromtimestamp(at, UTC)
    head = {"time": time, "level": level, "logger": logger, "process": process, "message": message}
    return orjson.dumps({**head, **fields}, default=str, option=orjson.OPT_UTC_Z)
