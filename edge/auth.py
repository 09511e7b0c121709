"""Who is calling: bearer keys, and the limits that go with them.

What is remembered here of a key serves the rate limiter alone. Whether the key is good is decided by the reserve statement of
each call (or by a look-up, on routes that reserve nothing), never by this memory.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import NamedTuple
from uuid import UUID

from peewee import JOIN

from edge.database_reader import DatabaseReader, with_plan
from shared import keys
from shared.catalog import CatalogModel
from shared.clock import now_ms
from shared.errors import AccessDenied, DatabaseUnavailable, InvalidKey, RequestRefused
from shared.ledger import OwnLimits, Reserved
from shared.ledger.payers import Parent
from shared.limits import KeyLimits, Limits, narrower
from shared.models import Account, ApiKey, Plan
from shared.settings import Settings

MOST_REMEMBERED = 50_000


class KeyRow(NamedTuple):
    """A key that is good at this moment, as a look-up found it."""

    key: UUID
    account: UUID
    prefix: str
    expires_at: int | None
    allowed_models: list[str] | None
    allowed_ips: list[str] | None
    plan_models: list[str] | None
    own: OwnLimits
    monthly_credit_limit: int | None = None
    can_manage: bool = False

    @property
    def limited(self) -> bool:
        """Whether it has any limit of its own; then it manages the keys that it created, and no others."""
        own = self.own
        limits = (own.key_rpm, own.key_tpm, own.key_concurrency, self.monthly_credit_limit, self.allowed_models, self.allowed_ips)
        return any(limit is not None for limit in limits)

    def may_use(self, model: CatalogModel, now: int) -> bool:
        """Whether key and plan allow `model`, and it has a price at `now` (milliseconds UTC)."""
        return model.usable(now, self.allowed_models, self.plan_models)


class Keys:
    """The limits of recently seen keys, by digest, and the look-up of the others."""

    def __init__(self, settings: Settings, reader: DatabaseReader) -> None:
        self._defaults = Limits(settings.default_rpm, settings.default_tpm, settings.default_concurrency)
        self._reader = reader
        self._known: OrderedDict[str, tuple[OwnLimits, KeyLimits]] = OrderedDict()

    async def limits(self, digest: str) -> KeyLimits:
        """The limits of a key. Raises `InvalidKey` for one that is unknown."""
        known = self._known.get(digest)
        if known is not None:
            return known[1]
        row = await self.look_up(digest)
        return self._remember(digest, row.account, row.key, row.own)

    def learn(self, digest: str, key: UUID, taken: Reserved) -> None:
        """Refresh what is known from what the reserve statement has just read."""
        known = self._known.get(digest)
        if known is None or known[0] != taken.own_limits:
            self._remember(digest, taken.account, key, taken.own_limits)

    def forget(self, digest: str) -> None:
        """The key was refused."""
        self._known.pop(digest, None)

    async def first_refusal(self, digest: str, error: RequestRefused) -> RequestRefused:
        """`error`, which speaks against a request before its key was read; unless the key itself is no good.

        A web session ("" is given for its digest) has been read by then, and a visitor has nothing to be read.
        """
        if not digest:
            return error
        try:
            await self.look_up(digest)
        except RequestRefused as refusal:
            self.forget(digest)
            return refusal
        except DatabaseUnavailable:
            pass
        return error

    async def look_up(self, digest: str) -> KeyRow:
        """Read a key now. Raises `InvalidKey`, `AccessDenied` (suspended), `DatabaseUnavailable`."""
        return await self._reader.read(partial(_read_key, digest))

    def in_force(self, account: UUID, key: UUID, own: OwnLimits) -> KeyLimits:
        """The limits that rows with `own` limits come to, defaults filled in."""
        whole = Limits(
            own.plan_rpm or self._defaults.rpm,
            own.plan_tpm or self._defaults.tpm,
            own.plan_concurrency or self._defaults.concurrency,
        )
        limits = KeyLimits(account, own.meter or key, whole, narrower(whole, own.key_rpm, own.key_tpm, own.key_concurrency))
        if own.parent is None:
            return limits
        parent = narrower(whole, own.parent.rpm, own.parent.tpm, own.parent.concurrency)
        if parent == whole:
            return limits
        return limits._replace(parent=own.parent.meter, parent_limits=parent)

    def _remember(self, digest: str, account: UUID, key: UUID, own: OwnLimits) -> KeyLimits:
        limits = self.in_force(account, key, own)
        self._known[digest] = (own, limits)
        if len(self._known) > MOST_REMEMBERED:
            self._known.popitem(last=False)
        return limits


def bearer(authorization: bytes | None, x_api_key: bytes | None) -> str:
    """The digest of the key in `Authorization: Bearer …` or `x-api-key`. Raises `InvalidKey` unless it is well formed."""
    secret = b""
    if authorization is not None and authorization[:7].lower() == b"bearer ":
        secret = authorization[7:].strip()
    elif x_api_key is not None:
        secret = x_api_key.strip()
    text = secret.decode("latin-1")
    if not keys.well_formed(text):
        raise InvalidKey
    return keys.digest(text)


def objection(revoked_at: int | None, expires_at: int | None, account_status: str, now: int) -> RequestRefused | None:
    """What speaks against a key with these columns at `now` (milliseconds UTC); None when it is good."""
    if revoked_at is not None or (expires_at is not None and expires_at <= now):
        return InvalidKey()
    if account_status != "active":
        return AccessDenied("This account is suspended. Contact support.", "account_suspended")
    return None


def _read_key(digest: str) -> KeyRow:
    creator = ApiKey.alias("creator")
    query = ApiKey.select(
        *(ApiKey.revoked_at, Account.status, ApiKey.id, ApiKey.account, ApiKey.prefix, ApiKey.expires_at),
        *(ApiKey.allowed_models, ApiKey.allowed_ips, Plan.allowed_models, ApiKey.monthly_credit_limit, ApiKey.can_manage),
        *(ApiKey.rpm, ApiKey.tpm, ApiKey.concurrency, Plan.rpm, Plan.tpm, Plan.concurrency),
        *(ApiKey.meter, creator.id, creator.meter, creator.monthly_credit_limit, creator.rpm, creator.tpm, creator.concurrency),
    )
    query = with_plan(query).join(creator, JOIN.LEFT_OUTER, on=(creator.id == ApiKey.parent), src=ApiKey)
    row = query.where(ApiKey.digest == digest).tuples().first()
    if row is None:
        raise InvalidKey
    revoked_at, status, key, account, prefix, expires_at, models, ips, plan_models, monthly, can_manage, *limits = row
    refusal = objection(revoked_at, expires_at, status, now_ms())
    if refusal is not None:
        raise refusal
    *rates, meter, parent, parent_meter, monthly_of_parent, rpm, tpm, concurrency = limits
    bound = Parent(parent_meter or parent, monthly_of_parent, rpm, tpm, concurrency) if parent is not None else None
    own = OwnLimits(*rates)._replace(meter=meter or key, parent=bound)
    return KeyRow(key, account, prefix, expires_at, models, ips, plan_models, own, monthly, can_manage)
