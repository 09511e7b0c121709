"""Webhooks: an account's secret, the signed message, and which callbacks are due.

Signed by the Standard Webhooks specification (https://www.standardwebhooks.com), like OpenAI's own webhooks:
`webhook-signature: v1,base64(hmac-sha256(secret, id.timestamp.body))`. `client.webhooks.unwrap` of the SDKs verifies them.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from peewee import Case

from shared.clock import now_ms
from shared.models import MediaJob, WebhookSecret
from shared.secrets import WEBHOOK_SECRET, seal, unseal

PREFIX = "whsec_"
WAITS_MS = (15_000, 60_000, 300_000, 1_200_000, 3_600_000, 14_400_000)  # after the first attempt, the second, …
MAX_ATTEMPTS = len(WAITS_MS) + 1
MAX_AGE_MS = 86_400_000  # after a job's end; limits the backlog of an account whose server never answers


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


class DueCallback(NamedTuple):
    """A callback that is due: its job, account and URL."""

    job: UUID
    account: UUID
    url: str


def due(limit: int, *, without: Collection[UUID] = ()) -> list[DueCallback]:
    """Up to `limit` due callbacks, the longest overdue first, except those of the accounts `without`.

    Also erases the addresses of callbacks that have no attempts left or are older than `MAX_AGE_MS`.
    """
    now = now_ms()
    _give_up(now)
    found = (MediaJob.callback_due_at <= now) & (MediaJob.callback_attempts < MAX_ATTEMPTS)
    if without:
        found &= MediaJob.account.not_in(list(without))
    columns = (MediaJob.id, MediaJob.account, MediaJob.callback_url)
    rows: Any = MediaJob.select(*columns).where(found).order_by(MediaJob.callback_due_at).limit(limit).tuples()
    return [DueCallback(job, account, url) for job, account, url in rows]


def claim(jobs: Sequence[UUID]) -> set[UUID]:
    """Count an attempt for each of these callbacks that is still due, and return those. No other process gets the same attempt.

    A claimed callback is due again after a pause that grows with each attempt, unless `forget` ends it.
    """
    now = now_ms()
    pause = Case(MediaJob.callback_attempts, tuple(enumerate(WAITS_MS)), WAITS_MS[-1])
    rows: Any = (
        MediaJob.update(callback_due_at=now + pause, callback_attempts=MediaJob.callback_attempts + 1)
        .where(MediaJob.id.in_(list(jobs)) & (MediaJob.callback_due_at <= now))
        .returning(MediaJob.id)
        .execute()
    )
    return {row.id for row in rows}


def postpone(jobs: Sequence[UUID], milliseconds: int) -> None:
    """Postpone these callbacks without counting an attempt, so that `due` returns others."""
    now = now_ms()
    still_due = MediaJob.id.in_(list(jobs)) & (MediaJob.callback_due_at <= now)
    MediaJob.update(callback_due_at=now + milliseconds).where(still_due).execute()


def forget(job: UUID) -> None:
    """Erase the address: the callback was delivered, or cannot be delivered."""
    MediaJob.update(callback_url=None, callback_due_at=None).where(MediaJob.id == job).execute()


def _give_up(now: int) -> None:
    spent = (MediaJob.callback_attempts >= MAX_ATTEMPTS) | (MediaJob.finished_at < now - MAX_AGE_MS)
    overdue = MediaJob.callback_due_at <= now
    MediaJob.update(callback_url=None, callback_due_at=None).where(overdue & spent).execute()


def _new_secret() -> str:
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()
