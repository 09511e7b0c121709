"""The script of `redis_script` on a Redis Cluster: each call runs on the node that serves its slot, in one pipeline per node.

Nodes, slots and redirections are described in the Redis Cluster specification (https://redis.io, "Redis cluster specification").
"""

from __future__ import annotations

import asyncio
from binascii import crc_hqx
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from typing import Any, NamedTuple, Protocol

import hiredis

from transport.redis_script import Address, Argument, RedisFailed, RedisScript

SLOTS = 16_384
RECONNECT_SECONDS = 1.0  # between two attempts to reach a failed node
TRY_AGAIN_SECONDS = 0.01  # before a call is repeated whose slot is being moved

# The replies of a node that did not run a call. CROSSSLOT is none of them: another node would not run it either.
_FAILOVER = frozenset({"READONLY", "CLUSTERDOWN", "MASTERDOWN", "LOADING"})
_NOT_RUN = frozenset({"MOVED", "ASK", "TRYAGAIN", "NOSCRIPT"}) | _FAILOVER

Node = tuple[str, int]


class ClusterAddress(Address, Protocol):
    """A cluster: `seeds` are the host and port of some nodes, `at` returns the address of any node."""

    @property
    def seeds(self) -> tuple[Node, ...]: ...
    def at(self, host: str, port: int) -> Address: ...


class Call(NamedTuple):
    """Keys and arguments of one script call. All keys have the hash tag that determines `slot`."""

    slot: int
    keys: Sequence[str]
    arguments: Sequence[Argument]


class _Target(NamedTuple):
    """Where to send a call. `is_asking`: the slot is being moved there."""

    node: Node | None
    is_asking: bool = False


def slot_of(tag: str) -> int:
    """Return the slot of keys with this hash tag, which is the text between their braces."""
    return crc_hqx(tag.encode(), 0) % SLOTS


class ClusterScript:
    """A script on all nodes of the cluster at `address`.

    A node that fails is not called again until a background task has reconnected to it, so a silent node delays one batch only.
    """

    def __init__(self, address: ClusterAddress, script: str, timeout_seconds: float) -> None:
        self._address = address
        self._script = script
        self._timeout = timeout_seconds
        self._nodes: dict[Node, RedisScript] = {}
        self._owners: list[Node | None] = []  # by slot; empty before the first answer of a node
        self._failed: dict[Node, str] = {}  # why these nodes are not called
        self._is_covered = False
        self._repair: asyncio.Task[None] | None = None

    @property
    def is_whole(self) -> bool:
        """Whether every slot has a node, and none of them is known to have failed."""
        return self._is_covered and not self._failed

    async def run_each(self, calls: Sequence[Call]) -> list[Any]:
        """Run all calls and return their results. A `RedisFailed` takes the place of the result of a failed call.

        A call that a node did not run, because its slot is elsewhere or moving, is repeated once. After a lost connection it may
        have run, and is not repeated.
        """
        if not self._owners:
            if self._is_repairing:
                return [RedisFailed("no node answers")] * len(calls)
            try:
                await self._read_slots()
            except RedisFailed as error:
                return [error] * len(calls)
        results = await self._send(calls, [_Target(self._owners[call.slot]) for call in calls])
        refused = [number for number, result in enumerate(results) if _code(result) in _NOT_RUN]
        if refused:
            await self._prepare_repetition({_code(results[number]) for number in refused})
            targets = [self._new_target(results[number], calls[number].slot) for number in refused]
            answers = await self._send([calls[number] for number in refused], targets)
            for number, answer in zip(refused, answers, strict=True):
                results[number] = answer
        return [RedisFailed.because_of(result) if isinstance(result, hiredis.ReplyError) else result for result in results]

    @property
    def _is_repairing(self) -> bool:
        return self._repair is not None and not self._repair.done()

    async def tags(self) -> list[str]:
        """Return a hash tag for each node that serves slots. Raises `RedisFailed`, also if no node serves a slot."""
        await self._read_slots()
        if not self._is_covered:
            raise RedisFailed("no node serves some of the slots")
        missing, found = set(self._owners), []
        for number in count():
            tag = str(number)
            owner = self._owners[slot_of(tag)]
            if owner in missing:
                missing.remove(owner)
                found.append(tag)
                if not missing:
                    return found
        raise AssertionError("unreachable")

    def close(self) -> None:
        """Close the connections. Pending calls fail."""
        if self._repair is not None:
            self._repair.cancel()
            self._repair = None
        for node in self._nodes.values():
            node.close()

    async def _send(self, calls: Sequence[Call], targets: Sequence[_Target]) -> list[Any]:
        """Return the results, with an error reply or a `RedisFailed` in the place of a call's result."""
        by_node: dict[Node | None, list[int]] = {}
        for number, target in enumerate(targets):
            by_node.setdefault(target.node, []).append(number)
        results: list[Any] = [None] * len(calls)

        async def send(node: Node | None, numbers: list[int]) -> None:
            asking = [targets[number].is_asking for number in numbers]
            answers = await self._send_to(node, [calls[number] for number in numbers], asking)
            for number, answer in zip(numbers, answers, strict=True):
                results[number] = answer

        await asyncio.gather(*(send(node, numbers) for node, numbers in by_node.items()))
        return results

    async def _send_to(self, node: Node | None, calls: list[Call], asking: list[bool]) -> list[Any]:
        if node is None:
            self._start_repair()
            return [RedisFailed("no node serves this slot")] * len(calls)
        if node in self._failed:
            return [RedisFailed(self._failed[node])] * len(calls)
        pairs = [(call.keys, call.arguments) for call in calls]
        try:
            return await self._client(node).run_each(pairs, asking)
        except RedisFailed as error:
            reason = f"{node[0]}:{node[1]}: {error}"
            self._failed[node] = reason
            self._start_repair()
            return [RedisFailed(reason)] * len(calls)

    async def _prepare_repetition(self, codes: set[str]) -> None:
        if codes & _FAILOVER:
            with suppress(RedisFailed):
                await self._read_slots()
        elif "MOVED" in codes:
            self._start_repair()  # other slots may have moved, too
        if "TRYAGAIN" in codes:
            await asyncio.sleep(TRY_AGAIN_SECONDS)

    def _new_target(self, error: hiredis.ReplyError, slot: int) -> _Target:
        """Return where to repeat the call that was refused with `error`. After MOVED, remember it."""
        owner = self._owners[slot]
        words = str(error).split()
        if words[0] not in ("MOVED", "ASK"):
            return _Target(owner)
        host, _, port = words[2].rpartition(":")
        node = (host or (owner[0] if owner else ""), int(port))  # without a host, it is the one that answered
        if words[0] == "MOVED":
            self._owners[slot] = node
        return _Target(node, is_asking=words[0] == "ASK")

    def _client(self, node: Node) -> RedisScript:
        client = self._nodes.get(node)
        if client is None:
            client = self._nodes[node] = RedisScript(self._address.at(*node), self._script, self._timeout)
        return client

    async def _read_slots(self) -> None:
        """Ask one node after the other who serves which slots. Raises `RedisFailed` if none of them knows."""
        healthy = [node for node in self._nodes if node not in self._failed]
        reason = ""
        for node in dict.fromkeys((*healthy, *self._address.seeds, *self._failed)):
            try:
                answer = await self._client(node).execute("CLUSTER", "SLOTS")
            except RedisFailed as error:
                reason = f"{node[0]}:{node[1]}: {error}"
                continue
            self._use(_owners(answer, node[0]))
            return
        self._start_repair()
        raise RedisFailed(reason)

    def _use(self, owners: list[Node | None]) -> None:
        self._owners, self._is_covered = owners, None not in owners
        used = set(owners) | set(self._address.seeds)
        for node in [node for node in self._nodes if node not in used]:
            self._nodes.pop(node).close()
        for node in [node for node in self._failed if node not in used]:
            del self._failed[node]

    def _start_repair(self) -> None:
        if not self._is_repairing:
            self._repair = asyncio.get_running_loop().create_task(self._repair_all())

    async def _repair_all(self) -> None:
        """Read the slots again, and reconnect to failed nodes until none is left that serves a slot."""
        while True:
            try:
                await self._read_slots()
            except RedisFailed:
                pass
            else:
                for node in list(self._failed):
                    try:
                        await self._client(node).execute("PING")
                    except RedisFailed:
                        continue
                    del self._failed[node]
                if self._is_covered and not self._failed.keys() & set(self._owners):
                    self._failed.clear()  # a seed that serves nothing
                    return
            await asyncio.sleep(RECONNECT_SECONDS)


def _code(result: Any) -> str:
    return str(result).partition(" ")[0] if isinstance(result, hiredis.ReplyError) else ""


def _owners(ranges: list[list[Any]], host: str) -> list[Node | None]:
    """Return the primary of each slot from the answer to CLUSTER SLOTS of `host`, which leaves out its own name if unknown."""
    owners: list[Node | None] = [None] * SLOTS
    for first, last, (name, port, *_), *_ in ranges:
        node = (name.decode() if name else host, port)
        owners[first : last + 1] = [node] * (last + 1 - first)
    return owners
