"""The check of Redis at startup, without redis-py, agrees with what redis-py would find."""

from __future__ import annotations

import socket
from pathlib import Path

from shared.core.redis_probe import works
from shared.core.redis_url import parse_redis_url
from tests.servers.process import free_port
from tests.servers.redis import RedisServer
from tests.servers.redis_cluster import RedisCluster

SECONDS = {"connect_seconds": 20, "answer_seconds": 20}


def test_a_single_server(redis_url: str) -> None:
    server = parse_redis_url(redis_url)
    assert works(server, in_cluster=False, **SECONDS)
    assert works(server._replace(db=1), in_cluster=False, **SECONDS)
    assert not works(server, in_cluster=True, **SECONDS)
    assert not works(server._replace(db=9999), in_cluster=False, **SECONDS)
    assert not works(server._replace(password="none is set"), in_cluster=False, **SECONDS)


def test_a_password_and_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    running = RedisServer("valkey", tmp_path, requirepass="secret", unixsocket=str(path))
    try:
        server = parse_redis_url(running.url)
        for address in (server, server._replace(path=str(path))):
            assert works(address._replace(password="secret"), in_cluster=False, **SECONDS)
            assert works(address._replace(username="default", password="secret"), in_cluster=False, **SECONDS)
            assert not works(address._replace(password="wrong"), in_cluster=False, **SECONDS)
            assert not works(address, in_cluster=False, **SECONDS)
    finally:
        running.kill()


def test_a_node_of_a_cluster(redis_cluster: RedisCluster) -> None:
    node = parse_redis_url(redis_cluster.nodes[0].url)
    assert works(node, in_cluster=True, **SECONDS)
    assert not works(node, in_cluster=False, **SECONDS)


def test_a_port_that_is_closed_and_a_silent_server() -> None:
    closed = parse_redis_url(f"redis://127.0.0.1:{free_port()}")
    assert not works(closed, in_cluster=False, **SECONDS)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        silent = closed.at("127.0.0.1", listener.getsockname()[1])
        assert not works(silent, in_cluster=False, connect_seconds=20, answer_seconds=0.05)
