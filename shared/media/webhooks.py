"""Webhooks: the secret of an account, what a signed message looks like, and which are owed.

Signed as the Standard Webhooks specification has it (https://www.standardwebhooks.com), which is also how OpenAI signs its own:
`webhook-signature: v1,base64(hmac-sha256(secret, id.timestamp.body))`, so that `client.webhooks.unwrap` of the SDKs reads them.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from typing import Any
from uuid import UUID

from peewee import Case

from shared.clock import now_ms
from shared.database import unlocked
from shared.models import MediaJob, WebhookSecret
from shared.secrets import WEBHOOK_SECRET, seal, unseal

PREFIX = "whsec_"
WAITS_MS = (15_000, 60_000, 300_000, 1_200_000, 3_600_000, 14_400_000)  # after the first attempt, the second, …
MOST_ATTEMPTS = len(WAITS_MS) + 1


def secret_of(account: UUID, secret_key: str) -> str:
    """The account's secret, made at the first call. Run inside a transaction."""
    row = WebhookSecret.get_or_none(WebhookSecret.account == account)
    if row is None:
        made = seal(_new_secret(), secret_key, WEBHOOK_SECRET)
        WebhookSecret.insert(account=account, sealed_secret=made).on_conflict_ignore().execute()
        row = WebhookSecret.get(WebhookSecret.account == account)
    return unseal(row.sealed_secret, secret_key, WEBHOOK_SECRET)


def replace_secret(account: UUID, secret_key: str) -> str:
    """A new secret in place of the old one, which signs nothing more. Run inside a transaction."""
    secret = _new_secret()
    WebhookSecret.delete().where(WebhookSecret.account == account).execute()
    WebhookSecret.create(account=account, sealed_secret=seal(secret, secret_key, WEBHOOK_SECRET))
    return secret


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of one message; `timestamp` in Unix seconds."""
    key = base64.b64decode(secret.removeprefix(PREFIX))
    digest = hmac.new(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": "v1," + base64.b64encode(digest).decode(),
    }


def due(limit: int) -> list[UUID]:
    """The ended jobs whose owner should be told now, each given to one caller only; it is due again after a while.

    After the last attempt the address is forgotten, as it is when one was told.
    """
    now = now_ms()
    _give_up(now)
    waits = Case(MediaJob.callback_attempts, tuple(enumerate(WAITS_MS)), WAITS_MS[-1])
    owed = (MediaJob.callback_due_at <= now) & (MediaJob.callback_attempts < MOST_ATTEMPTS)
    found = unlocked(MediaJob.select(MediaJob.id).where(owed).order_by(MediaJob.callback_due_at).limit(limit))
    rows: Any = (
        MediaJob.update(callback_due_at=now + waits, callback_attempts=MediaJob.callback_attempts + 1)
        .where(MediaJob.id.in_(found) & (MediaJob.callback_due_at <= now))
        .returning(MediaJob.id)
        .execute()
    )
    return [row.id for row in rows]


def forget(job: UUID) -> None:
    """The owner was told, or can't be: the address goes."""
    MediaJob.update(callback_url=None, callback_due_at=None).where(MediaJob.id == job).execute()


def _give_up(now: int) -> None:
    spent = (MediaJob.callback_due_at <= now) & (MediaJob.callback_attempts >= MOST_ATTEMPTS)
    MediaJob.update(callback_url=None, callback_due_at=None).where(spent).execute()


def _new_secret() -> str:
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()
