"""Reads the JSON documents that a command verifies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_json(path: Path) -> Any:
    """Return the content of a JSON file. Raises `InvalidInput` if it is not JSON, and `OSError`."""
    from shared.core.errors import InvalidInput

    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError):  # the latter for thousands of nested brackets
        raise InvalidInput(f"{path} is not JSON.") from None
