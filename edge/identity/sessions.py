"""Web sessions at the edge: the cookie, who is behind it, and the token that a form or a script must send along with it.

A session is read with every request that brings one, never remembered: one that was revoked is refused on the next request, on
every edge process.
"""

from __future__ import annotations

import hashlib
import hmac
from functools import partial
from typing import NamedTuple
from uuid import UUID

from edge.store.database_reader import DatabaseReader, with_plan
from edge.store.ledger_batcher import LedgerQueue
from shared.catalog.snapshot import CatalogModel
from shared.core.clock import now_ms
from shared.core.errors import AccessDenied, InvalidSession
from shared.core.secrets import derive_key
from shared.core.settings import Settings
from shared.identity import web_sessions
from shared.ledger import OwnLimits
from shared.models import Account, Plan, WebSession
from shared.operations.web_accounts import touch_session

NAME = "yout_session"


class SessionRow(NamedTuple):
    """A session that is good at this moment, as a look-up found it."""

    digest: str
    account: UUID
    email: str
    status: str
    seen_at: int
    plan_models: list[str] | None
    own: OwnLimits

    def may_use(self, model: CatalogModel, now: int) -> bool:
        """Whether the plan allows `model`, and it has a price at `now` (milliseconds UTC)."""
        return model.usable(now, self.plan_models)


class Sessions:
    """Their look-up, and what goes with it."""

    def __init__(self, settings: Settings, reader: DatabaseReader, ledger: LedgerQueue) -> None:
        self.secure = settings.secure_cookies
        # A __Host- cookie is Secure, of this host alone and for all its paths; browsers take one over https only.
        self.cookie = f"__Host-{NAME}" if self.secure else NAME
        self._csrf_key = derive_key(settings.secret_key, "csrf")
        self._reader = reader
        self._ledger = ledger

    async def look_up(self, secret: str) -> SessionRow:
        """Who is behind a cookie, suspended or not. Raises `InvalidSession`, `DatabaseUnavailable`."""
        if len(secret) > web_sessions.LONGEST_SECRET or not secret.isascii():
            raise InvalidSession
        row = await self.find(web_sessions.digest(secret))
        if now_ms() - row.seen_at > web_sessions.TOUCH_MS:
            self._ledger.run(partial(touch_session, row.digest))  # nobody waits for it: it only moves the session's end
        return row

    async def find(self, digest: str) -> SessionRow:
        """The same, of a cookie that is known by its digest."""
        return await self._reader.read(partial(_read_session, digest))

    def csrf_token(self, secret: str) -> str:
        """What has to come with every request that changes something for the holder of this cookie."""
        return hmac.new(self._csrf_key, secret.encode(), hashlib.sha256).hexdigest()

    def proves(self, secret: str, token: str) -> bool:
        """Whether `token` is that of the cookie."""
        return hmac.compare_digest(self.csrf_token(secret).encode(), token.encode(errors="replace"))


def check_active(row: SessionRow) -> None:
    """Raise `AccessDenied` unless the account may be used."""
    if row.status != "active":
        raise AccessDenied("This account is suspended. Contact support.", "account_suspended")


def _read_session(digest: str) -> SessionRow:
    query = WebSession.select(
        *(WebSession.expires_at, WebSession.revoked_at, Account.id, Account.email, Account.status, WebSession.seen_at),
        *(Plan.allowed_models, Plan.rpm, Plan.tpm, Plan.concurrency),
    )
    row = with_plan(query).where(WebSession.digest == digest).tuples().first()
    if row is None:
        raise InvalidSession
    expires_at, revoked_at, account, email, status, seen_at, plan_models, rpm, tpm, concurrency = row
    if revoked_at is not None or expires_at <= now_ms() or status == "closed":
        raise InvalidSession
    own = OwnLimits(plan_rpm=rpm, plan_tpm=tpm, plan_concurrency=concurrency)
    return SessionRow(digest, account, email, status, seen_at, plan_models, own)
