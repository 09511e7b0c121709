"""Merkle trees as in RFC 6962, section 2.1: one hash of many leaves, and short proofs that a leaf is among them. Pure.

A leaf and an inner node are hashed with different prefixes, so neither can pass as the other. A node without a sibling moves up
unchanged, which gives the same trees as the RFC's recursive definition.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce
from hashlib import sha256
from typing import NamedTuple

EMPTY = sha256(b"").digest()  # the root of a tree without leaves


class PathStep(NamedTuple):
    """A sibling on the way from a leaf to the root, and whether it is the left one."""

    is_left: bool
    sibling: bytes


def leaf_hash(data: bytes) -> bytes:
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


class TreeBuilder:
    """Computes a root leaf by leaf. Keeps one hash per level."""

    def __init__(self) -> None:
        self._subtrees: list[tuple[int, bytes]] = []  # complete ones: their level, and their root

    def add(self, leaf: bytes) -> None:
        """Add the hash of the next leaf."""
        level = 0
        while self._subtrees and self._subtrees[-1][0] == level:
            leaf = node_hash(self._subtrees.pop()[1], leaf)
            level += 1
        self._subtrees.append((level, leaf))

    @property
    def root(self) -> bytes:
        roots = [root for _, root in self._subtrees]
        return reduce(lambda right, left: node_hash(left, right), reversed(roots)) if roots else EMPTY


def root_of(leaves: Iterable[bytes]) -> bytes:
    """Return the root over the hashes of leaves."""
    tree = TreeBuilder()
    for leaf in leaves:
        tree.add(leaf)
    return tree.root


def path_of(leaves: Sequence[bytes], index: int) -> list[PathStep]:
    """Return the siblings from leaf `index` up to the root."""
    path, level = [], list(leaves)
    while len(level) > 1:
        sibling = index ^ 1
        if sibling < len(level):
            path.append(PathStep(sibling < index, level[sibling]))
        level = [
            node_hash(level[number], level[number + 1]) if number + 1 < len(level) else level[number]
            for number in range(0, len(level), 2)
        ]
        index //= 2
    return path


def root_from(leaf: bytes, path: Iterable[PathStep]) -> bytes:
    """Return the root that a leaf and its path lead to."""
    for is_left, sibling in path:
        leaf = node_hash(sibling, leaf) if is_left else node_hash(leaf, sibling)
    return leaf
