"""Reports the server time of each response in `Server-Timing`, which browsers show in their developer tools."""

from __future__ import annotations

import time

from flask import Flask, Response, g


def install(app: Flask) -> None:
    """Time every request of `app`. Install it first, so that the time covers everything else."""
    app.before_request(_begin)
    app.after_request(_add_header)


def _begin() -> None:
    g.began = time.perf_counter()


def _add_header(response: Response) -> Response:
    """Add the milliseconds until the response was created; streaming afterwards is not included."""
    response.headers["Server-Timing"] = f"app;dur={(time.perf_counter() - g.began) * 1000:.1f}"
    return response
