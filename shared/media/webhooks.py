"""Webhooks: signing secrets, signatures, and which callbacks are due.

Signatures follow the Standard Webhooks specification (https://www.standardwebhooks.com), like OpenAI's webhooks:
`webhook-signature: v1,base64(hmac-sha256(secret, id.timestamp.body))`. The SDKs verify them with `client.webhooks.unwrap`.
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

from shared.core.clock import now_ms
from shared.core.secrets import WEBHOOK_SECRET, seal, unseal
from shared.models import MediaJob, WebhookSecret

PREFIX = "whsec_"
RETRY_DELAYS_MS = (15_000, 60_000, 300_000, 1_200_000, 3_600_000, 14_400_000)  # after the first attempt, the second, …
MAX_ATTEMPTS = len(RETRY_DELAYS_MS) + 1
MAX_AGE_MS = 86_400_000  # since the job's end; limits the backlog for a server that never responds


def get_or_create_secret(account: UUID, secret_key: str) -> str:
    """Return the account's signing secret, created at first use. Run inside a transaction."""
    row = WebhookSecret.get_or_none(WebhookSecret.account == account)
    if row is None:
        made = seal(_new_secret(), secret_key, WEBHOOK_SECRET)
        WebhookSecret.insert(account=account, sealed_secret=made).on_conflict_ignore().execute()
        row = WebhookSecret.get(WebhookSecret.account == account)
    return unseal(row.sealed_secret, secret_key, WEBHOOK_SECRET)


def replace_secret(account: UUID, secret_key: str) -> str:
    """Replace the signing secret and return the new one. The old one becomes invalid. Run inside a transaction."""
    secret = _new_secret()
    WebhookSecret.delete().where(WebhookSecret.account == account).execute()
    WebhookSecret.create(account=account, sealed_secret=seal(secret, secret_key, WEBHOOK_SECRET))
    return secret


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the headers of a webhook; `timestamp` is in Unix seconds."""
    key = base64.b64decode(secret.removeprefix(PREFIX))
    digest = hmac.new(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": "v1," + base64.b64encode(digest).decode(),
    }


class DueCallback(NamedTuple):
    """A callback that is due."""

    job: UUID
    account: UUID
    url: str


def due_callbacks(limit: int, *, excluded_accounts: Collection[UUID] = ()) -> list[DueCallback]:
    """Return up to `limit` due callbacks, the longest overdue first, except those of the accounts in `excluded_accounts`.

    Also erases the URLs of callbacks that have no attempts left or are older than `MAX_AGE_MS`.
    """
    now = now_ms()
    _give_up(now)
    found = (MediaJob.callback_due_at <= now) & (MediaJob.callback_attempts < MAX_ATTEMPTS)
    if excluded_accounts:
        found &= MediaJob.account.not_in(list(excluded_accounts))
    columns = (MediaJob.id, MediaJob.account, MediaJob.callback_url)
    rows: Any = MediaJob.select(*columns).where(found).order_by(MediaJob.callback_due_at).limit(limit).tuples()
    return [DueCallback(job, account, url) for job, account, url in rows]


def claim_callbacks(jobs: Sequence[UUID]) -> set[UUID]:
    """Count an attempt for each of these callbacks that is still due, and return those. Only one process gets each attempt.

    A claimed callback becomes due again after a delay that grows with each attempt, unless `forget` removes it.
    """
    now = now_ms()
    delay = Case(MediaJob.callback_attempts, tuple(enumerate(RETRY_DELAYS_MS)), RETRY_DELAYS_MS[-1])
    rows: Any = (
        MediaJob.update(callback_due_at=now + delay, callback_attempts=MediaJob.callback_attempts + 1)
        .where(MediaJob.id.in_(list(jobs)) & (MediaJob.callback_due_at <= now))
        .returning(MediaJob.id)
        .execute()
    )
    return {row.id for row in rows}


def postpone_callbacks(jobs: Sequence[UUID], milliseconds: int) -> None:
    """Postpone these callbacks without counting an attempt, so that `due` returns others."""
    now = now_ms()
    still_due = MediaJob.id.in_(list(jobs)) & (MediaJob.callback_due_at <= now)
    MediaJob.update(callback_due_at=now + milliseconds).where(still_due).execute()


def erase_callback(job: UUID) -> None:
    """Erase the callback's URL, after it was delivered or has failed for good."""
    MediaJob.update(callback_url=None, callback_due_at=None).where(MediaJob.id == job).execute()


def _give_up(now: int) -> None:
    spent = (MediaJob.callback_attempts >= MAX_ATTEMPTS) | (MediaJob.finished_at < now - MAX_AGE_MS)
    overdue = MediaJob.callback_due_at <= now
    MediaJob.update(callback_url=None, callback_due_at=None).where(overdue & spent).execute()


def _new_secret() -> str:
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()
