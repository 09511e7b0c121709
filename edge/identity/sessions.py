"""Web sessions: cookies, session look-ups and CSRF tokens.

A session is read from the database on every request, never cached, so that a revocation takes effect on the next request in
every edge process.
"""

from __future__ import annotations

import hashlib
import hmac
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from peewee import JOIN, fn

from edge.store.database_reader import DatabaseReader, with_plan
from edge.store.database_writer import DatabaseWriter
from edge.store.digest_query import DigestQuery
from shared.catalog.snapshot import CatalogModel
from shared.core.clock import now_ms
from shared.core.errors import AccessDenied, InvalidSession
from shared.core.secrets import derive_key
from shared.core.settings import Settings
from shared.identity import web_sessions
from shared.identity.payer import SessionPayer
from shared.identity.roles import OWNER, SUSPENDED
from shared.ledger import KeyAndPlanLimits
from shared.models import Account, Member, Person, Plan, WebSession
from shared.operations.web_accounts import member_actor, touch_session

COOKIE_NAME = "yout_session"
FORM_COOKIE_NAME = "yout_form"  # of pages without a session


class SessionRow(NamedTuple):
    """A valid session of a member of an account, as read from the database. `email` is the member's."""

    digest: str
    account: UUID
    email: str
    status: str
    seen_at: int
    plan_models: list[str] | None
    own_limits: KeyAndPlanLimits
    member: UUID
    role: str
    person: UUID
    account_name: str = ""
    member_suspended: bool = False

    @property
    def payer(self) -> SessionPayer:
        """Who pays for calls with this session."""
        return SessionPayer(self.digest)

    @property
    def actor(self) -> str:
        """The member's name in the audit trail."""
        return member_actor(self.member, self.account)

    def may_use(self, model: CatalogModel, now: int) -> bool:
        """Return whether the plan allows `model`, and it has a price at `now` (milliseconds UTC)."""
        return model.is_usable(now, self.plan_models)


class Sessions:
    """Looks up sessions and issues CSRF tokens."""

    def __init__(self, settings: Settings, reader: DatabaseReader, writer: DatabaseWriter) -> None:
        self.secure = settings.secure_cookies
        # Browsers accept a __Host- cookie only over HTTPS, for this exact host and all its paths.
        prefix = "__Host-" if self.secure else ""
        self.cookie, self.form_cookie = f"{prefix}{COOKIE_NAME}", f"{prefix}{FORM_COOKIE_NAME}"
        self._csrf_key = derive_key(settings.secret_key, "csrf")
        self._reader = reader
        self._writer = writer

    async def look_up(self, secret: str) -> SessionRow:
        """Return the session of a cookie, even of a suspended account. Raises `InvalidSession`, `DatabaseUnavailable`."""
        if len(secret) > web_sessions.MAX_SECRET_LENGTH or not secret.isascii():
            raise InvalidSession
        row = await self.find(web_sessions.digest(secret))
        if now_ms() - row.seen_at > web_sessions.TOUCH_INTERVAL_MS:
            self._writer.run(partial(touch_session, row.digest))  # not awaited: it only extends the session
        return row

    async def find(self, digest: str) -> SessionRow:
        """Like `look_up`, by the digest of a cookie."""
        return await self._reader.read(partial(_read_session, digest))

    def csrf_token(self, secret: str) -> str:
        """Return the CSRF token that unsafe requests with this cookie must send."""
        return hmac.new(self._csrf_key, secret.encode(), hashlib.sha256).hexdigest()

    def verify_csrf_token(self, secret: str, token: str) -> bool:
        """Return whether `token` is the CSRF token of the cookie."""
        return hmac.compare_digest(self.csrf_token(secret).encode(), token.encode(errors="replace"))


def require_active(row: SessionRow) -> None:
    """Raise `AccessDenied` unless the account and the member are active."""
    if row.status != "active":
        raise AccessDenied("This account is suspended. Contact support.", "account_suspended")
    if row.member_suspended:
        raise AccessDenied(SUSPENDED, "member_suspended")


def _select_sessions() -> Any:
    query = WebSession.select(
        *(WebSession.expires_at, WebSession.revoked_at, Account.id, Account.email, Account.status, WebSession.seen_at),
        *(Plan.allowed_models, Plan.rpm, Plan.tpm, Plan.concurrency),
        *(Member.id, Member.role, Member.suspended_at, Member.removed_at, Person.id, Person.email),
        *(Account.name, Account.email),
    )
    is_member = Member.id == fn.COALESCE(WebSession.member, WebSession.account)
    return with_plan(query).join(Member, JOIN.LEFT_OUTER, on=is_member, src=WebSession).join(Person, JOIN.LEFT_OUTER)


_SESSION_QUERY = DigestQuery(_select_sessions, WebSession)


def _read_session(digest: str) -> SessionRow:
    row = _SESSION_QUERY.row(digest)
    if row is None:
        raise InvalidSession
    expires_at, revoked_at, account, email, status, seen_at, plan_models, rpm, tpm, concurrency, *member = row
    if revoked_at is not None or expires_at <= now_ms() or status == "closed":
        raise InvalidSession
    id, role, suspended_at, removed_at, person, own_email, name, owner_email = member
    if removed_at is not None:
        raise InvalidSession
    if id is None:  # the previous release created the account; its owner is added with the first change
        id, role, person = account, OWNER, account
    elif role != OWNER:
        email = own_email
    own = KeyAndPlanLimits(plan_rpm=rpm, plan_tpm=tpm, plan_concurrency=concurrency)
    who = (id, role, person, name or owner_email, suspended_at is not None)
    return SessionRow(digest, account, email, status, seen_at, plan_models, own, *who)
