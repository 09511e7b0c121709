"""Chooses free ports for those that are not set, and checks that all ports are free before anything starts."""

from __future__ import annotations

import errno
import socket
from collections.abc import Collection, Iterable
from dataclasses import fields, replace
from typing import Any, NamedTuple

from shared.core.errors import SettingsError
from shared.core.settings import Settings

PORT_FIELDS = ("edge_port", "console_port", "local_port")
_STEP = 10  # 8000 and 8001 become 8010 and 8011, and so on, to keep one stack's ports recognizable
_MAX_TRIES = 100


class Listener(NamedTuple):
    """A port that `name` will listen on, and the setting that changes it."""

    name: str
    host: str
    port: int
    setting: str


def reachable_host(bind_host: str) -> str:
    """Return the host for URLs by which this machine reaches a server bound to `bind_host`."""
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(bind_host, bind_host)  # noqa: S104  (compared, not bound)
    return f"[{host}]" if ":" in host else host


def choose_ports(settings: Settings, explicit: Collection[str]) -> Settings:
    """Return settings in which each port that is not `explicit` is its default, or the next free one in steps of 10.

    This lets a second checkout run beside the first. Explicit ports and ports in production never change, because other
    programs rely on them.
    """
    if settings.production:
        return settings
    defaults: dict[str, Any] = {item.name: item.default for item in fields(Settings)}
    used = {getattr(settings, name) for name in PORT_FIELDS if name in explicit}
    ports: dict[str, Any] = {}
    for name in PORT_FIELDS:
        if name not in explicit:
            host = "127.0.0.1" if name == "local_port" else settings.bind_host
            candidates = range(defaults[name], defaults[name] + _STEP * _MAX_TRIES, _STEP)
            free = (port for port in candidates if port not in used and not _in_use(host, port))
            ports[name] = next(free, defaults[name])
            used.add(ports[name])
    return replace(settings, **ports)


def _in_use(host: str, port: int) -> bool:
    try:
        _bind(host, port)
    except OSError as error:  # `require_free_ports` reports all other errors
        return error.errno == errno.EADDRINUSE
    return False


def require_free_ports(listeners: Iterable[Listener]) -> None:
    """Raise `SettingsError` for the first port that two listeners share, is in use, or is not permitted."""
    taken: dict[int, str] = {}
    for listener in listeners:
        other = taken.setdefault(listener.port, listener.name)
        if other != listener.name:
            raise SettingsError(
                f"{other} and {listener.name} cannot both listen on port {listener.port}. Set {listener.setting} to another port."
            )
        _require_usable(listener)


def _require_usable(listener: Listener) -> None:
    try:
        _bind(listener.host, listener.port)
    except socket.gaierror as error:
        raise SettingsError(f"YOUT_BIND_HOST: {listener.host} is not a valid address: {error.strerror}.") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise SettingsError(
                f"Port {listener.port} for {listener.name} is in use. Set {listener.setting} to a free port, or stop the program"
                " that uses it."
            ) from None
        raise SettingsError(
            f"{listener.name} cannot listen on {listener.host} port {listener.port} ({error.strerror})."
            f" Set {listener.setting} or YOUT_BIND_HOST."
        ) from None


def _bind(host: str, port: int) -> None:
    """Bind a socket to the address and close it. Raises `OSError`."""
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # ignore connections in TIME_WAIT
        probe.bind(address)
