"""Opens redis-py's client for `REDIS_URL`, a single server or a cluster. Nothing is connected before the first command."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.commands import RedisClusterCommands
from redis.exceptions import RedisClusterException
from redis.retry import Retry

from shared.core.redis_url import RedisAddress, parse_redis_url


class ClusterClient(RedisClusterCommands):
    """A cluster client that connects at its first command, as `redis.Redis` does: redis-py's own connects when it is created.

    Raises `redis.RedisError` only. Thread-safe.
    """

    def __init__(self, address: RedisAddress, retries: int, **options: Any) -> None:
        self._address, self._retries = address, retries
        self._options = address.client_options() | options
        self._lock = threading.Lock()
        self._cluster: RedisCluster | None = None

    def __enter__(self) -> ClusterClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> RedisCluster:
        """Return redis-py's client, which knows the nodes."""
        with self._lock:
            if self._cluster is None:
                try:
                    self._cluster = RedisCluster(
                        startup_nodes=[_node(host, port) for host, port in self._address.seeds],
                        retry=Retry(NoBackoff(), self._retries),
                        require_full_coverage=False,  # a lost node concerns its own slots only
                        **self._options,
                    )
                except RedisClusterException as error:
                    raise _as_redis_error(error) from error.__cause__
            return self._cluster

    def execute_command(self, *args: Any, **options: Any) -> Any:
        try:
            return self.open().execute_command(*args, **options)  # type: ignore[no-untyped-call]  # untyped in redis-py
        except RedisClusterException as error:
            raise redis.ConnectionError(str(error)) from error

    def pipeline(self, transaction: bool = False) -> Any:
        """Return a pipeline whose keys must have the same hash tag."""
        return self.open().pipeline(transaction=transaction)  # type: ignore[no-untyped-call]  # untyped in redis-py

    def info_of_primaries(self, section: str) -> list[dict[str, Any]]:
        """Return this section of INFO of each node that serves slots."""
        found = self.execute_command("INFO", section, target_nodes=RedisCluster.PRIMARIES)
        return list(found.values()) if all(isinstance(one, dict) for one in found.values()) else [found]  # one node: not by name

    def get_encoder(self) -> Any:
        """Return the encoder of scripts, which redis-py needs before the first command."""
        return redis.ConnectionPool().get_encoder()

    def close(self) -> None:
        """Close the connections. The next command opens new ones."""
        with self._lock:
            if self._cluster is not None:
                self._cluster.close()
                self._cluster = None


def open_client(
    url: str,
    connect_seconds: float,
    answer_seconds: float,
    *,
    retries: int = 0,
    single: Callable[..., redis.Redis] = redis.Redis,
    cluster: Callable[..., ClusterClient] = ClusterClient,
) -> Any:
    """Return a client made by `single` or `cluster`. A failed command is repeated `retries` times, at once."""
    address = parse_redis_url(url)
    options: dict[str, Any] = {"socket_connect_timeout": connect_seconds, "socket_timeout": answer_seconds}
    if address.is_cluster:
        return cluster(address, retries, **options)
    return single(**address.client_options(), **options, retry=Retry(NoBackoff(), retries))


def _node(host: str, port: int) -> ClusterNode:
    return ClusterNode(host, port)  # type: ignore[no-untyped-call]  # untyped in redis-py


def _as_redis_error(error: RedisClusterException) -> redis.RedisError:
    """Return the error of the last seed, which explains more than that the cluster cannot be connected."""
    cause = error.__cause__
    return cause if isinstance(cause, redis.RedisError) else redis.ConnectionError(str(cause or error))
