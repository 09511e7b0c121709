"""Results of commands and how they are printed: JSON for scripts, text for people."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Result:
    """`data` is printed with `--json` and contains at least an `id`; otherwise `text` is printed."""

    data: dict[str, Any]
    text: str
    exit_code: int = 0


def print_result(result: Result, *, as_json: bool) -> int:
    """Print a result to standard output and return the exit code."""
    print(json.dumps(result.data, ensure_ascii=False) if as_json else result.text, flush=True)
    return result.exit_code


def print_error(message: str, code: str, *, as_json: bool) -> None:
    """Print an error: as JSON on standard output, or as one line on standard error."""
    message = " ".join(message.split())
    if as_json:
        print(json.dumps({"error": {"message": message, "code": code}}, ensure_ascii=False))
    else:
        print(f"yout: {message}", file=sys.stderr)


def format_timestamp(milliseconds: int | None) -> str:
    """Format a time (ms UTC) to the second, or "never" for None."""
    if milliseconds is None:
        return "never"
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
