"""Ports: every one that the stack needs is free before anything is started."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable
from typing import NamedTuple

from shared.errors import SettingsError


class Listener(NamedTuple):
    """A port that `name` is going to listen on, and the setting that would change it."""

    name: str
    host: str
    port: int
    setting: str


def reachable_host(bind_host: str) -> str:
    """The address by which this machine reaches what listens on `bind_host`, ready for a URL."""
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(bind_host, bind_host)  # noqa: S104  (compared, not bound)
    return f"[{host}]" if ":" in host else host


def require_free(listeners: Iterable[Listener]) -> None:
    """Raise `SettingsError` for the first port that two listeners share, is taken, or may not be used."""
    taken: dict[int, str] = {}
    for listener in listeners:
        other = taken.setdefault(listener.port, listener.name)
        if other != listener.name:
            raise SettingsError(
                f"{other} and {listener.name} cannot both listen on port {listener.port}; set {listener.setting} to another one."
            )
        _try(listener)


def _try(listener: Listener) -> None:
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            listener.host, listener.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]  # fmt: skip
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that are fading away don't count
            probe.bind(address)
    except socket.gaierror as problem:
        raise SettingsError(f"YOUT_BIND_HOST: {listener.host} is no address: {problem.strerror}.") from None
    except OSError as problem:
        if problem.errno == errno.EADDRINUSE:
            raise SettingsError(
                f"Port {listener.port} for {listener.name} is in use; set {listener.setting} to a free one, or end what uses it."
            ) from None
        raise SettingsError(
            f"{listener.name} cannot listen on {listener.host} port {listener.port} ({problem.strerror});"
            f" set {listener.setting} or YOUT_BIND_HOST."
        ) from None
