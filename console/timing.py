"""How long the server took, told to the browser with every answer (`Server-Timing`), where its developer tools show it."""

from __future__ import annotations

import time

from flask import Flask, Response, g


def install(app: Flask) -> None:
    """Time every request of `app`. First of all, so that nothing is left out."""
    app.before_request(_begin)
    app.after_request(_tell)


def _begin() -> None:
    g.began = time.perf_counter()


def _tell(response: Response) -> Response:
    """In milliseconds, until the answer is made; what is streamed afterwards is not in it."""
    response.headers["Server-Timing"] = f"app;dur={(time.perf_counter() - g.began) * 1000:.1f}"
    return response
