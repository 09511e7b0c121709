"""Requests of the administration API that take effect only once, and whose repetition gets the same answer.

A request is claimed by its `Idempotency-Key` in the operation's transaction: a concurrent repetition waits until that ends. The
answer may contain the secret of a new API key, so it is encrypted with a key from the admin key's secret, which is not in the
database.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import NamedTuple
from uuid import UUID

import peewee
from cryptography.fernet import Fernet

from shared.core.clock import now_ms
from shared.core.database import transaction
from shared.core.errors import IdempotencyKeyReused
from shared.core.secrets import derive_key
from shared.models import AdminAnswer

ANSWER_MS = 24 * 3600 * 1000  # how long an answer is kept


class RepeatableRequest(NamedTuple):
    """A request with an `Idempotency-Key`. `content` is all that must be equal in a repetition: method, path and body."""

    admin_key: UUID
    idempotency_key: str
    content: bytes

    @property
    def digest(self) -> str:
        """What identifies the request: other admin keys may send the same `Idempotency-Key`."""
        return hashlib.sha256(f"{self.admin_key}:{self.idempotency_key}".encode()).hexdigest()


def answer_once(request: RepeatableRequest, secret: str, work: Callable[[], bytes]) -> bytes:
    """Return the answer of `work`, which runs in this transaction, or the one that the same request got within 24 hours.

    `secret` is the admin key's. If `work` raises, its changes and the claim are rolled back. Raises `IdempotencyKeyReused` if the
    request's content differs from the first one's.
    """
    content = hashlib.sha256(request.content).hexdigest()
    with transaction():
        now = now_ms()
        own = AdminAnswer.digest == request.digest
        AdminAnswer.delete().where(AdminAnswer.expires_at <= now).execute()
        claim = {"admin_key": request.admin_key, "request_digest": content, "expires_at": now + ANSWER_MS}
        try:
            with transaction():  # a savepoint: PostgreSQL rejects queries after a failed statement
                AdminAnswer.create(digest=request.digest, **claim)
        except peewee.IntegrityError:
            return _repeat(AdminAnswer.get(own), content, secret)
        answer = work()
        AdminAnswer.update(sealed=_cipher(secret).encrypt(answer).decode()).where(own).execute()
        return answer


def _repeat(row: AdminAnswer, content: str, secret: str) -> bytes:
    if row.request_digest != content:
        raise IdempotencyKeyReused
    return _cipher(secret).decrypt(row.sealed.encode())


def _cipher(secret: str) -> Fernet:
    return Fernet(base64.urlsafe_b64encode(derive_key(secret, "admin answers")))
