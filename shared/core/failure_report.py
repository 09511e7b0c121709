"""Formats internal errors for the log. Leaves out exception messages that may quote content or secrets."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from pathlib import Path

from shared.core.errors import YoutError

_ROOT = Path(__file__).resolve().parents[2]
_MAX_CHAIN = 5  # nested causes


def describe_failure(error: BaseException) -> str:
    """Return `error` and its causes as lines: each type, its traceback, and the message if the exception is our own.

    Messages of other exceptions are left out: database drivers quote rows, and parsers quote their input.
    """
    return "\n".join(_lines(error))


def _lines(error: BaseException) -> Iterator[str]:
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in chain and len(chain) < _MAX_CHAIN:
        chain.append(current)
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    for number, each in enumerate(chain):
        code = getattr(each, "sqlstate", None)
        reason = f": {each}" if isinstance(each, YoutError) else f" ({code})" if code else ""
        yield f"{'caused by ' if number else ''}{type(each).__name__}{reason}"
        for frame in traceback.extract_tb(each.__traceback__):
            path = Path(frame.filename)
            shown = path.relative_to(_ROOT) if path.is_relative_to(_ROOT) else path
            yield f"  {shown}:{frame.lineno} in {frame.name}: {frame.line}"
