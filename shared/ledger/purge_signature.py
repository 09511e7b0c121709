"""Signatures of purges: only a process with SECRET_KEY can replace an account's oldest entries with an opening entry. Pure.

Without one, anyone who can write to the database could delete entries and present the rest as what a purge left. The signed
statement says what the purge left, and how many leaves of the account cover replaced entries: it explains only that these are
missing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from shared.core import signing
from shared.core.errors import InvalidInput

KIND = "yout-ledger-purge"
OPENING_ACTOR = "purge"  # of an opening entry, which may have any number


class Opening(NamedTuple):
    """An opening entry: its number, and the account's balance and plan credits after it."""

    seq: int
    balance: int
    plan_credits: int


class PurgeState(NamedTuple):
    """What a purge left. `origin` is the hash of the last entry that it replaced, None if older releases wrote them all."""

    account: UUID
    origin: bytes | None
    opening: Opening | None  # None: the balance was 0


def sign_purge(state: PurgeState, leaves: int, secret_key: str, seal: int | None = None) -> str:
    """Return the signature as the JSON of `account.ledger_origin_signature`.

    `leaves` is the number of the account's leaves that cover replaced entries, also of earlier purges. `seal` is None, or the
    number of the seal that signs the purges of older releases.
    """
    statement = _statement(state, leaves, seal)
    return json.dumps(
        {
            "leaves": leaves,
            "seal": seal,
            "key_id": signing.key_id(signing.public_key(secret_key, signing.LEDGER_HEADS)),
            "signature": signing.sign(statement, secret_key, signing.LEDGER_HEADS),
        }
    )


class SignedPurges(NamedTuple):
    """What verifies signatures: public keys in PEM by id, and the seal that signed the purges of older releases.

    Before that seal, `since` is None, and purges may be without a signature.
    """

    keys: Mapping[str, str]
    since: int | None

    def problem(self, state: PurgeState, signed: Any) -> str | None:
        """Return what is wrong with the parsed signature of what a purge left, or None."""
        try:
            key_id, signature, seal = signed["key_id"], signed["signature"], signed["seal"]
            statement, pem = _statement(state, int(signed["leaves"]), seal), self.keys.get(key_id)
        except (KeyError, TypeError, ValueError):
            return "the signature of its purge is malformed"
        if pem is None:
            return f"the signature of its purge is from the unknown key {key_id}; get the published heads again"
        if not signing.is_valid(statement, signature, _parse_key(key_id, pem)):
            return "the signature of its purge does not match what the purge left"
        if seal is not None and self.since is not None and seal != self.since:
            return f"its purge was signed with seal {seal}, but only seal {self.since} signed older purges"
        return None


def _statement(state: PurgeState, leaves: int, seal: int | None) -> dict[str, Any]:
    return {
        "kind": KIND,
        "account": str(state.account),
        "origin": None if state.origin is None else state.origin.hex(),
        "opening": None if state.opening is None else list(state.opening),
        "leaves": leaves,
        "seal": seal,
    }


def _parse_key(key_id: str, pem: str) -> Ed25519PublicKey:
    key = signing.parse_public_key(pem.encode())
    if signing.key_id(key) != key_id:
        raise InvalidInput(f"The key {key_id} has another id.")
    return key
