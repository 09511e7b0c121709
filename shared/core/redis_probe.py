"""Checks that a Redis server works, without loading redis-py, which takes 7 MB and 0.1 s."""

from __future__ import annotations

import socket
from contextlib import closing
from typing import Any

import hiredis

from shared.core.redis_url import RedisAddress

READ_BYTES = 65_536
_pack: Any = hiredis.pack_command  # its type stub is wrong


def works(server: RedisAddress, *, in_cluster: bool, connect_seconds: float, answer_seconds: float) -> bool:
    """Return whether the server accepts the credentials and is, or is not, part of a cluster; False if in doubt."""
    commands: list[tuple[str | int, ...]] = [("PING",), ("INFO", "cluster")]
    if server.db:
        commands.insert(0, ("SELECT", server.db))
    if server.password:
        commands.insert(0, ("AUTH", *((server.username,) if server.username else ()), server.password))
    try:
        with closing(_connect(server, connect_seconds)) as link:
            link.settimeout(answer_seconds)
            link.sendall(b"".join(map(_pack, commands)))
            replies = _read(link, len(commands))
    except (OSError, hiredis.HiredisError):
        return False
    if any(isinstance(reply, hiredis.ReplyError) for reply in replies):
        return False
    return (b"cluster_enabled:1" in replies[-1]) == in_cluster


def _connect(server: RedisAddress, seconds: float) -> socket.socket:
    if server.path:
        link = socket.socket(socket.AF_UNIX)
        link.settimeout(seconds)
        link.connect(server.path)
        return link
    link = socket.create_connection((server.host, server.port), seconds)
    return server.ssl_context().wrap_socket(link, server_hostname=server.host) if server.tls else link


def _read(link: socket.socket, count: int) -> list[Any]:
    reader, replies = hiredis.Reader(), list[Any]()
    while len(replies) < count:
        data = link.recv(READ_BYTES)
        if not data:
            raise ConnectionResetError
        reader.feed(data)
        while (reply := reader.gets()) is not False:
            replies.append(reply)
    return replies
