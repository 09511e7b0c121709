"""Witnessed entries: hashes that chain an account's ledger entries, so that a later change of any of them can be proved. Pure.

    commitment = SHA-256(salt ‖ details)
    entry_hash = SHA-256(tag ‖ previous entry_hash ‖ account ‖ seq ‖ kind ‖ amount ‖ balance_after ‖ plan_amount ‖ created_at
                         ‖ commitment)

The details are a JSON array (`entry_details`). A purge or the usage retention can delete them with the salt: the commitment
stays, so the chain can still be checked, but without the salt nobody can test a guess of the details.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from hashlib import sha256
from struct import Struct
from typing import Any, NamedTuple
from uuid import UUID

import orjson

NO_HEAD = bytes(32)  # the hash before an account's first witnessed entry
SALT_BYTES = 16
TAG = b"yout ledger v1"
pack_entry = Struct(">16s32s16sq16sqqqq32s").pack  # strings are padded with zero bytes
Amounts = tuple[int, int, int]  # an entry's amount, balance_after and plan_amount, in credits


class Witness(NamedTuple):
    """The columns that make an entry checkable: its hash (32 bytes), and the commitment to its details with its salt."""

    entry_hash: bytes
    commitment: bytes
    salt: bytes | bytearray


def new_salts(count: int) -> list[bytearray]:
    """Return `count` salts of 16 random bytes. They are read ahead: a system call takes longer than hashing an entry.

    Bytearrays, because `sqlite3` takes five times longer to bind bytes, which it first tries to adapt.
    """
    try:
        return [_salts.pop() for _ in range(count)]
    except IndexError:
        pool = bytearray(os.urandom(SALT_BYTES * (_SALTS_AT_ONCE + count)))
        fresh = [pool[start : start + SALT_BYTES] for start in range(0, len(pool), SALT_BYTES)]
        _salts.extend(fresh[count:])
        return fresh[:count]


_SALTS_AT_ONCE = 256
_salts: list[bytearray] = []
os.register_at_fork(after_in_child=_salts.clear)  # otherwise parent and child would use the same salts


def entry_details(actor: str, reason: str, call: UUID | None, usage: Sequence[Any] | None) -> bytes:
    """Return the details as JSON without whitespace: `[actor, reason, call, usage]`, with the `usage` of a charge or null.

    The usage is `[model, price, status, input_tokens, cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens,
    estimated, extra_usage, credits, overage_credits, overrun_credits, created_at, request_sha256]`, with the id of the call's
    `request_shape` at the end if it has one.
    """
    return orjson.dumps((actor, reason, call, usage), option=orjson.OPT_SORT_KEYS)


def commit(salt: bytes | bytearray, details: bytes) -> bytes:
    """Return the commitment to an entry's details (32 bytes)."""
    return sha256(salt + details).digest()


def hash_entry(
    previous: bytes,
    account: UUID,
    seq: int,
    kind: str,
    amounts: Amounts,
    created_at: int,
    commitment: bytes,
) -> bytes:
    """Return an entry's hash (32 bytes). `created_at` is in ms UTC.

    `previous` is the hash of the witnessed entry before it, or `NO_HEAD`.
    """
    entry = pack_entry(TAG, previous, account.bytes, seq, kind.encode(), *amounts, created_at, commitment)
    return sha256(entry).digest()


def witness_entry(
    previous: bytes,
    account: UUID,
    seq: int,
    kind: str,
    amounts: Amounts,
    created_at: int,
    details: bytes,
) -> Witness:
    """Return the witness of a new entry, with a random salt. The arguments are those of `hash_entry`, and the entry's details."""
    [salt] = new_salts(1)
    commitment = commit(salt, details)
    hashed = hash_entry(previous, account, seq, kind, amounts, created_at, commitment)
    return Witness(hashed, commitment, salt)
