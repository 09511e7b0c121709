"""Readiness: how a started process shows that it can be used. A check gives None when it can, else what is missing."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Callable
from functools import partial
from urllib.parse import urlsplit

Check = Callable[[], str | None]

CHECK_SECONDS = 2


def answers(url: str) -> Check:
    """Ready when GET `url` answers with a status below 400."""
    return partial(_get, url)


def pongs(port: int) -> Check:
    """Ready when the Redis-protocol server on this loopback port answers a PING (while loading its file it refuses)."""
    return partial(_ping, port)


def _get(url: str) -> str | None:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=CHECK_SECONDS)
    try:
        connection.request("GET", parts.path)
        answer = connection.getresponse()
        return None if answer.status < 400 else f"GET {url} answers {answer.status}"
    except (OSError, http.client.HTTPException) as problem:
        return f"GET {url}: {problem or type(problem).__name__}"
    finally:
        connection.close()


def _ping(port: int) -> str | None:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=CHECK_SECONDS) as connection:
            connection.sendall(b"PING\r\n")
            answer = connection.recv(64)
    except OSError as problem:
        return f"port {port}: {problem}"
    return None if answer.startswith(b"+PONG") else f"port {port} answers {answer!r}"
