"""What a command gives back, and how it is shown: an object for scripts, lines for people."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Result:
    """`data` is printed with `--json` and has at least an `id`; `text` is printed otherwise."""

    data: dict[str, Any]
    text: str
    exit_code: int = 0


def show(result: Result, *, as_json: bool) -> int:
    """Print a result to standard output and give the exit code."""
    print(json.dumps(result.data, ensure_ascii=False) if as_json else result.text, flush=True)
    return result.exit_code


def show_error(message: str, code: str, *, as_json: bool) -> None:
    """Print an error: an object on standard output for scripts, one line on standard error for people."""
    message = " ".join(message.split())
    if as_json:
        print(json.dumps({"error": {"message": message, "code": code}}, ensure_ascii=False))
    else:
        print(f"yout: {message}", file=sys.stderr)


def moment(milliseconds: int | None) -> str:
    """A moment for people, in UTC to the second."""
    if milliseconds is None:
        return "never"
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
