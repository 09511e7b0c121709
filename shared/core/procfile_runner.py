"""Detects honcho and foreman, which start every line of a Procfile at once, and stop all processes when one ends."""

from __future__ import annotations

import os
import re


def process_name() -> str | None:
    """Return the name that such a runner gave this process, such as `release.1`; None if it was started in another way.

    honcho sets HONCHO_PROCESS_NAME (honcho, "Environment"), and foreman sets PS (foreman, "Process").
    """
    name = os.environ.get("HONCHO_PROCESS_NAME") or os.environ.get("PS", "")
    return name if re.fullmatch(r"[A-Za-z0-9_-]+\.\d+", name) and "DYNO" not in os.environ else None
