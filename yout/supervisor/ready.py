"""Readiness checks of started processes. A check returns None if the process is ready, else what is missing."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from shared.core.errors import SettingsError

Check = Callable[[], str | None]

CHECK_SECONDS = 2


def http_ready(url: str) -> Check:
    """Return a check that GET `url` responds with a status below 400."""
    return partial(_get, url)


def redis_ready(path: Path) -> Check:
    """Return a check that the Redis server on this socket answers a PING, which it refuses while it loads its data."""
    return partial(_ping, path)


def models_loaded(url: str) -> Check:
    """Return a check that the embedded model server has loaded its models or failed to."""
    return partial(_loading, url)


def served_models(url: str) -> frozenset[str]:
    """Return the models that the embedded model server has loaded. Raises `SettingsError` if it does not respond."""
    try:
        states = _model_states(url)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise SettingsError(f"The embedded model server stopped responding ({error or type(error).__name__}).") from None
    return frozenset(name for name, state in states.items() if state == "ready")


def _get(url: str) -> str | None:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=CHECK_SECONDS)
    try:
        connection.request("GET", parts.path)
        answer = connection.getresponse()
        return None if answer.status < 400 else f"GET {url} returned {answer.status}"
    except (OSError, http.client.HTTPException) as error:
        return f"GET {url}: {error or type(error).__name__}"
    finally:
        connection.close()


def _loading(url: str) -> str | None:
    try:
        states = _model_states(url)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return f"GET {url}: {error or type(error).__name__}"
    return next((f"{name} is loading" for name, state in states.items() if state == "loading"), None)


def _model_states(url: str) -> dict[str, str]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=CHECK_SECONDS)
    try:
        connection.request("GET", parts.path)
        models = json.loads(connection.getresponse().read())["models"]
        return {name: model["state"] for name, model in models.items()}
    finally:
        connection.close()


def _ping(path: Path) -> str | None:
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(CHECK_SECONDS)
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            answer = connection.recv(64)
    except OSError as error:
        return f"{path}: {error}"
    return None if answer.startswith(b"+PONG") else f"{path} answered {answer!r}"
