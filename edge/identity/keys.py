"""Authentication by API key, and the rate limits of keys.

The cache of keys serves only the rate limiter. Whether a key is valid is decided by the reserve statement of each call (or by
a look-up, on routes that reserve nothing), never by this cache.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from peewee import JOIN, fn

from edge.identity.invalid_key_limits import BatchedReads, RefusedKeys
from edge.store.database_reader import DatabaseReader, of_digests, with_plan
from edge.store.digest_query import DigestQuery
from shared.catalog.snapshot import CatalogModel
from shared.core.clock import now_ms
from shared.core.errors import AccessDenied, DatabaseUnavailable, InvalidApiKey, InvalidRequest, RequestRefused
from shared.core.settings import Settings
from shared.core.token_bucket import KeyLimits, RateLimits, effective_limits
from shared.identity import api_key_format
from shared.identity.payer import KeyPayer, ParentKey, Payer
from shared.identity.roles import OWNER, SUSPENDED, may, refusal
from shared.ledger import HoldTaken, KeyAndPlanLimits
from shared.models import Account, ApiKey, Member, Plan

MAX_CACHED_KEYS = 50_000


class KeyRow(NamedTuple):
    """A valid key, as read from the database. `member` is None for the account's first owner; `role` is the member's."""

    digest: str
    key: UUID
    account: UUID
    prefix: str
    expires_at: int | None
    allowed_models: list[str] | None
    allowed_ips: list[str] | None
    plan_models: list[str] | None
    own_limits: KeyAndPlanLimits
    monthly_credit_limit: int | None = None
    can_manage: bool = False
    daily_credit_limit: int | None = None
    member: UUID | None = None
    role: str = OWNER

    @property
    def payer(self) -> KeyPayer:
        """Who pays for calls with this key."""
        return KeyPayer(self.digest)

    @property
    def actor(self) -> str:
        """The key's name in the audit trail."""
        return f"key:{self.prefix}"

    @property
    def has_limits(self) -> bool:
        """Whether the key has any limit. Such a key can manage only the keys that it created."""
        own = self.own_limits
        credits = (self.monthly_credit_limit, self.daily_credit_limit)
        limits = (own.key_rpm, own.key_tpm, own.key_concurrency, *credits, self.allowed_models, self.allowed_ips)
        return any(limit is not None for limit in limits)

    def may_use(self, model: CatalogModel, now: int) -> bool:
        """Return whether key and plan allow `model`, and it has a price at `now` (milliseconds UTC)."""
        return model.is_usable(now, self.allowed_models, self.plan_models)


class Keys:
    """Key look-ups, with a cache of the limits of recently used keys by digest."""

    def __init__(self, settings: Settings, reader: DatabaseReader, refused: RefusedKeys) -> None:
        self._defaults = RateLimits(settings.default_rpm, settings.default_tpm, settings.default_concurrency)
        self._reader = reader
        self._refused = refused
        self._gathered = BatchedReads(self._read_together)
        self._cached: OrderedDict[str, tuple[KeyAndPlanLimits, KeyLimits]] = OrderedDict()

    async def admit(self, authorization: bytes | None, x_api_key: bytes | None, address: str) -> tuple[KeyPayer, KeyLimits]:
        """Return the payer and limits of the request's key. Recently used keys are cached.

        Raises `InvalidApiKey`, `TooManyInvalidKeys`, `AccessDenied` (account suspended), and `InvalidRequest` for two keys.
        """
        try:
            secret = sent_key(authorization, x_api_key)
            digest = api_key_format.digest(secret)
            cached = self._cached.get(digest)
            if cached is not None:  # so its format is valid, too
                return KeyPayer(digest), cached[1]
            if not api_key_format.is_well_formed(secret):
                raise InvalidApiKey
            row = await self.look_up(digest, address)
        except InvalidApiKey:
            await self._count_refusal(authorization, x_api_key, address)
            raise
        return KeyPayer(digest), self._remember(digest, row.account, row.key, row.own_limits)

    async def authenticate(self, authorization: bytes | None, x_api_key: bytes | None, address: str) -> KeyRow:
        """Read the request's key from the database. Raises like `admit`."""
        try:
            return await self.look_up(key_digest(authorization, x_api_key), address)
        except InvalidApiKey:
            await self._count_refusal(authorization, x_api_key, address)
            raise

    def update_cache(self, digest: str, key: UUID, taken: HoldTaken) -> None:
        """Refresh the cached limits from the row that the reserve statement has just read."""
        cached = self._cached.get(digest)
        if cached is None or cached[0] != taken.rate_limits:
            self._remember(digest, taken.account, key, taken.rate_limits)

    def drop_from_cache(self, digest: str) -> None:
        """Remove a rejected key from the cache."""
        self._cached.pop(digest, None)

    async def key_error_or(self, payer: Payer, error: RequestRefused) -> RequestRefused:
        """Return `error`, or the error of the key if that is invalid: authentication errors take precedence.

        Web sessions and visitors were checked earlier.
        """
        if not isinstance(payer, KeyPayer):
            return error
        try:
            await self.look_up(payer.digest)
        except RequestRefused as refusal:
            self.drop_from_cache(payer.digest)
            return refusal
        except DatabaseUnavailable:
            pass
        return error

    async def look_up(self, digest: str, address: str = "") -> KeyRow:
        """Read a key from the database. Raises `InvalidApiKey`, `AccessDenied` (account suspended), `DatabaseUnavailable`.

        If the network of `address` has sent too many invalid keys, the read is delayed and batched with others.
        """
        if self._refused.is_cached(digest):
            raise InvalidApiKey
        try:
            if self._refused.is_throttled(address):
                return await self._gathered.get(digest)
            return await self._reader.read(partial(_read_key, digest))
        except InvalidApiKey:
            self._refused.cache(digest)
            raise

    async def _read_together(self, digests: Collection[str]) -> Mapping[str, KeyRow | RequestRefused]:
        return await self._reader.read(partial(_read_keys, digests))

    async def _count_refusal(self, authorization: bytes | None, x_api_key: bytes | None, address: str) -> None:
        if authorization is not None or x_api_key is not None:  # a request without a key is not an attempt to guess one
            await self._refused.count(address)

    def effective_limits(self, account: UUID, key: UUID, own: KeyAndPlanLimits) -> KeyLimits:
        """Return the limits in force for a key with these columns, with defaults filled in."""
        whole = RateLimits(
            own.plan_rpm or self._defaults.rpm,
            own.plan_tpm or self._defaults.tpm,
            own.plan_concurrency or self._defaults.concurrency,
        )
        limits = KeyLimits(
            account, own.meter or key, whole, effective_limits(whole, own.key_rpm, own.key_tpm, own.key_concurrency)
        )
        if own.parent is None:
            return limits
        parent = effective_limits(whole, own.parent.rpm, own.parent.tpm, own.parent.concurrency)
        if parent == whole:
            return limits
        return limits._replace(parent=own.parent.meter, parent_limits=parent)

    def _remember(self, digest: str, account: UUID, key: UUID, own: KeyAndPlanLimits) -> KeyLimits:
        limits = self.effective_limits(account, key, own)
        self._cached[digest] = (own, limits)
        if len(self._cached) > MAX_CACHED_KEYS:
            self._cached.popitem(last=False)
        return limits


def key_digest(authorization: bytes | None, x_api_key: bytes | None) -> str:
    """Return the digest of the key in `Authorization: Bearer …` or `x-api-key`.

    Raises `InvalidApiKey` if it is missing or malformed, `InvalidRequest` for two different keys.
    """
    secret = sent_key(authorization, x_api_key)
    if not api_key_format.is_well_formed(secret):
        raise InvalidApiKey
    return api_key_format.digest(secret)


def sent_key(authorization: bytes | None, x_api_key: bytes | None) -> str:
    """Return the key as it was sent, or "" if there is none. Raises `InvalidRequest` for two different keys."""
    secret = b""
    if authorization is not None and authorization[:7].lower() == b"bearer ":
        secret = authorization[7:].strip()
        if x_api_key is not None and x_api_key.strip() != secret:
            raise InvalidRequest("'Authorization' and 'x-api-key' contain different keys. Send only one of them.", "x-api-key")
    elif x_api_key is not None:
        secret = x_api_key.strip()
    return secret.decode("latin-1")


def key_error(revoked_at: int | None, expires_at: int | None, account_status: str, now: int) -> RequestRefused | None:
    """Return the error that rejects a key with these columns at `now` (milliseconds UTC), or None if it is valid."""
    if revoked_at is not None or (expires_at is not None and expires_at <= now):
        return InvalidApiKey()
    if account_status != "active":
        return AccessDenied("This account is suspended. Contact support.", "account_suspended")
    return None


def member_error(role: str, suspended_at: int | None, removed_at: int | None) -> RequestRefused | None:
    """Return the error that rejects a key of a member with these columns, or None if the member may use it."""
    if removed_at is not None:
        return InvalidApiKey()
    if suspended_at is not None:
        return AccessDenied(SUSPENDED, "member_suspended")
    return None if may(role, "call") else refusal(role)


def _select_keys() -> Any:
    creator = ApiKey.alias("creator")
    query = ApiKey.select(
        *(ApiKey.digest, ApiKey.revoked_at, Account.status, ApiKey.id, ApiKey.account, ApiKey.prefix, ApiKey.expires_at),
        *(ApiKey.allowed_models, ApiKey.allowed_ips, Plan.allowed_models, ApiKey.monthly_credit_limit, ApiKey.can_manage),
        *(ApiKey.rpm, ApiKey.tpm, ApiKey.concurrency, Plan.rpm, Plan.tpm, Plan.concurrency),
        *(ApiKey.meter, creator.id, creator.meter, creator.monthly_credit_limit, creator.rpm, creator.tpm, creator.concurrency),
        *(creator.daily_credit_limit, ApiKey.daily_credit_limit),
        *(ApiKey.member, Member.role, Member.suspended_at, Member.removed_at),
    )
    query = with_plan(query).join(creator, JOIN.LEFT_OUTER, on=(creator.id == ApiKey.parent), src=ApiKey)
    is_member = Member.id == fn.COALESCE(ApiKey.member, ApiKey.account)
    return query.join(Member, JOIN.LEFT_OUTER, on=is_member, src=ApiKey)


_KEY_QUERY = DigestQuery(_select_keys, ApiKey)


def _read_key(digest: str) -> KeyRow:
    row = _KEY_QUERY.row(digest)
    found = InvalidApiKey() if row is None else _checked(row, now_ms())
    if isinstance(found, RequestRefused):
        raise found
    return found


def _read_keys(digests: Collection[str]) -> dict[str, KeyRow | RequestRefused]:
    """Return the key for each digest, or the error that rejects it."""
    found: dict[str, KeyRow | RequestRefused] = {digest: InvalidApiKey() for digest in digests}
    now = now_ms()
    for row in of_digests(_select_keys(), ApiKey, digests).tuples():
        found[row[0]] = _checked(row, now)
    return found


def _checked(row: Sequence[Any], now: int) -> KeyRow | RequestRefused:
    """Return the key of a row of `_select_keys`, or the error that rejects it at `now` (milliseconds UTC)."""
    digest, revoked_at, status, key, account, prefix, expires_at, models, ips, plan_models, monthly, can_manage, *limits = row
    *limits, member, role, suspended_at, removed_at = limits
    *rates, meter, parent, parent_meter, monthly_of_parent, rpm, tpm, concurrency, daily_of_parent, daily = limits
    of_parent = (monthly_of_parent, rpm, tpm, concurrency, daily_of_parent)
    bound = ParentKey(parent_meter or parent, *of_parent) if parent is not None else None
    own = KeyAndPlanLimits(*rates)._replace(meter=meter or key, parent=bound)
    valid = KeyRow(digest, key, account, prefix, expires_at, models, ips, plan_models, own, monthly, can_manage)
    valid = valid._replace(daily_credit_limit=daily, member=member, role=role or OWNER)
    return key_error(revoked_at, expires_at, status, now) or member_error(valid.role, suspended_at, removed_at) or valid
