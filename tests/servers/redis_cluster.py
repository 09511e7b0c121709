"""A Redis Cluster of three packaged Valkey servers without replicas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import redis

from tests.servers.process import eventually
from tests.servers.redis import RedisServer

NODES = 3
SLOTS = 16_384


class RedisCluster:
    """Three nodes that share the slots; each keeps serving its own if another one is lost. `options` are server settings."""

    def __init__(self, folder: Path, **options: str) -> None:
        self.nodes: list[RedisServer] = []
        settings = {
            "cluster_enabled": "yes",
            "cluster_node_timeout": "1000",
            "cluster_require_full_coverage": "no",
            **options,
        }
        try:
            for number in range(NODES):
                own = folder / f"node-{number}"
                own.mkdir()
                self.nodes.append(RedisServer("valkey", own, **settings))
            self._join()
        except BaseException:
            self.kill()
            raise

    @property
    def url(self) -> str:
        """The URL with the last node as its only seed."""
        return f"redis+cluster://127.0.0.1:{self.nodes[-1].port}"

    def command(self, number: int, *words: Any) -> Any:
        """Run a command on one node."""
        with redis.Redis(port=self.nodes[number].port) as client:
            return client.execute_command(*words)

    def keys(self, pattern: str) -> list[bytes]:
        """The keys on all nodes."""
        return [key for number in range(NODES) for key in self.command(number, "KEYS", pattern)]

    def owner(self, slot: int) -> int:
        """The node that serves the slot, from the answer of the first node."""
        ports = [node.port for node in self.nodes]
        for first, last, (_, port, *_), *_ in self.command(0, "CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return ports.index(port)
        raise LookupError(f"nobody serves slot {slot}")

    def name(self, number: int) -> str:
        return str(self.command(number, "CLUSTER", "MYID").decode())

    def flush(self) -> None:
        for number in range(NODES):
            self.command(number, "FLUSHALL")

    def kill(self) -> None:
        for node in self.nodes:
            node.kill()

    def _join(self) -> None:
        for number, node in enumerate(self.nodes):
            first, end = (SLOTS * bound // NODES for bound in (number, number + 1))
            self.command(number, "CLUSTER", "ADDSLOTSRANGE", first, end - 1)
            self.command(number, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            if number:
                self.command(0, "CLUSTER", "MEET", "127.0.0.1", node.port)
        eventually(lambda: all(self.knows_all(number) for number in range(NODES)), "every node knows all slots")

    def knows_all(self, number: int) -> bool:
        """Whether the node sees a complete cluster."""
        state = self.command(number, "CLUSTER", "INFO")
        served = sum(last + 1 - first for first, last, *_ in self.command(number, "CLUSTER", "SLOTS"))
        return bool(b"cluster_state:ok" in state and served == SLOTS)
