"""Checks that leaves in the database are in seals that this installation has signed.

A seal counts as signed if its signature is by a known secret key (`SECRET_KEY`, and former ones that can still decrypt), or if
such a seal comes after it in the chain. Public keys in the database are not trusted: who can write to it can add one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from shared.core import signing
from shared.core.secret_key import decryption_keys
from shared.ledger.merkle import root_of
from shared.ledger.seal import CHUNK, Leaf, read_chunk_roots, read_documents, read_leaves, statement_hash


class SealedLeaves:
    """Checks leaves, and remembers the seals and chunks of leaves that it has checked."""

    def __init__(self, secret_key: str) -> None:
        keys = [signing.public_key(key, signing.LEDGER_HEADS) for key in decryption_keys(secret_key)]
        self._keys = {signing.key_id(key): key for key in keys}
        self._seals: dict[int, tuple[str | None, list[bytes]]] = {}  # what is wrong, and the roots of chunks
        self._chunks: dict[tuple[int, int], list[bytes]] = {}  # hashes of leaves

    def problems(self, leaf: Leaf, seal: int, position: int) -> Iterator[str]:
        """Yield what is wrong with a leaf at a position in a seal."""
        if seal not in self._seals:
            self._seals[seal] = self._read_seal(seal)
        problem, roots = self._seals[seal]
        if problem is not None:
            yield f"account {leaf.account}, entries {leaf.first_seq} to {leaf.seq}: {problem}"
            return
        number = position // CHUNK
        if (seal, number) not in self._chunks:
            self._chunks[seal, number] = [found.hash for found in read_leaves(seal, number * CHUNK, CHUNK)]
        chunk = self._chunks[seal, number]
        if number >= len(roots) or root_of(chunk) != roots[number] or chunk[position % CHUNK] != leaf.hash:
            yield f"account {leaf.account}, entries {leaf.first_seq} to {leaf.seq}: not those in seal {seal}"

    def _read_seal(self, number: int) -> tuple[str | None, list[bytes]]:
        roots = read_chunk_roots(number)
        [(document, _)] = read_documents(number, 1)
        if document["head"]["number"] != number or root_of(roots).hex() != document["head"]["root"]:
            return f"the leaves of seal {number} do not lead to its root", []
        if not self._is_signed(document):
            return f"seal {number} has no valid signature by a key of this installation", []
        return None, roots

    def _is_signed(self, document: dict[str, Any]) -> bool:
        """Return whether a known key signed this document, or a later one that names it, directly or through others."""
        while True:
            key = self._keys.get(document["key_id"])
            if key is not None:
                return signing.is_valid(document["head"], document["signature"], key)
            later = read_documents(document["head"]["number"] + 1, 1)
            if not later or later[0][0]["head"]["previous"] != statement_hash(document["head"]):
                return False
            document = later[0][0]
