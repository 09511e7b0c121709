"""Once: what a person sends twice (a double click, a reload) happens one time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import peewee

from shared.clock import new_id, now_ms
from shared.database import transaction
from shared.errors import IdempotencyConflict
from shared.models import IdempotencyClaim

REMEMBERED_MS = 24 * 3600 * 1000


@contextmanager
def once(account: UUID, token: str, content: str) -> Iterator[None]:
    """Run the operations inside this block in one transaction, one time for each `token` of an account within 24 hours.

    `token` is unguessable and made with the form; `content` is what the form said. Raises `IdempotencyConflict` before the block
    runs: `key_used` when the same was done already, `key_reused` when the token was used for another content. If the block
    raises, neither its changes nor the claim stay.
    """
    key, body = _digest("form:" + token), _digest(content)
    with transaction():
        _claim(account, key, body)
        yield


def _claim(account: UUID, key: str, body: str) -> None:
    now = now_ms()
    try:
        with transaction():  # a savepoint: PostgreSQL refuses the look-up below in a transaction that failed
            IdempotencyClaim.create(
                account=account,
                key_digest=key,
                body_digest=body,
                call=new_id(),
                state="done",
                created_at=now,
                expires_at=now + REMEMBERED_MS,
            )
    except peewee.IntegrityError:
        earlier = IdempotencyClaim.get_or_none((IdempotencyClaim.account == account) & (IdempotencyClaim.key_digest == key))
        if earlier is None:  # it was no duplicate but an unknown account: the operation says so in its own words
            return
        raise IdempotencyConflict("key_used" if earlier.body_digest == body else "key_reused") from None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
