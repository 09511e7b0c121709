"""The payer of a call: a key, a session or a visitor; and the row of a key or session, with its limits and permissions. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import NamedTuple
from uuid import UUID

from shared.core.errors import AccessDenied
from shared.identity.roles import SUSPENDED, require
from shared.text.client_address import normalize_address, normalize_network


@dataclass(frozen=True, slots=True)
class KeyPayer:
    """The account of an API key, by the key's digest."""

    digest: str


@dataclass(frozen=True, slots=True)
class SessionPayer:
    """The account of a web session, by the session's digest."""

    digest: str


@dataclass(frozen=True, slots=True)
class VisitorPayer:
    """The visitors' pool. `digest` identifies the visitor for one day (`shared.identity.visitor_id`)."""

    digest: str


Payer = KeyPayer | SessionPayer | VisitorPayer  # resolved once per request


class ParentKey(NamedTuple):
    """The key that created another one, with its limits. Calls of both count under its `meter`."""

    meter: UUID
    monthly_limit: int | None = None
    rpm: int | None = None
    tpm: int | None = None
    concurrency: int | None = None
    daily_limit: int | None = None


class MemberState(NamedTuple):
    """The member whose key or session pays, unless it is the first owner. Limits are in credits, None for none."""

    id: UUID
    role: str
    suspended: bool = False
    monthly_limit: int | None = None
    daily_limit: int | None = None


class KeyAndPlanLimits(NamedTuple):
    """Rate limits from the database, for the edge's limiter; None if the key or plan sets none.

    `meter` is the id under which a key's calls are counted: its own, or that of the first key in its chain of rotations.
    """

    key_rpm: int | None = None
    key_tpm: int | None = None
    key_concurrency: int | None = None
    plan_rpm: int | None = None
    plan_tpm: int | None = None
    plan_concurrency: int | None = None
    meter: UUID | None = None
    parent: ParentKey | None = None


class PayerRow(NamedTuple):
    """A paying key or session, as read from the database. `overage` is the subscription's id if its overage is enabled."""

    account: UUID
    account_status: str
    expires_at: int | None
    revoked_at: int | None
    plan_models: list[str] | None
    overage: UUID | None
    limits: KeyAndPlanLimits
    api_key: UUID | None = None
    allowed_models: list[str] | None = None
    allowed_ips: list[str] | None = None
    monthly_limit: int | None = None
    daily_limit: int | None = None
    member: MemberState | None = None

    def is_usable(self, now: int) -> bool:
        """Return whether the key or session is neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > now)


def check_access(payer: PayerRow, model: str, address: str) -> None:
    """Raise `AccessDenied` unless the account is active, and its key and plan allow `model` from this IP address."""
    if payer.account_status != "active":
        raise AccessDenied("This account is suspended. Contact support.", "account_suspended")
    if payer.member is not None:
        check_member(payer.member)
    if payer.allowed_ips is not None and not address_allowed(address, payer.allowed_ips):
        raise AccessDenied("Your API key cannot be used from your IP address.", "ip_not_allowed")
    if payer.allowed_models is not None and model not in payer.allowed_models:
        raise AccessDenied(f"Your API key does not have access to the model '{model}'.", "model_not_allowed")
    if payer.plan_models is not None and model not in payer.plan_models:
        raise AccessDenied(f"Your plan does not include the model '{model}'.", "plan_required")


def check_member(member: MemberState) -> None:
    """Raise `AccessDenied` for a suspended member, and for one whose role does not allow calls."""
    if member.suspended:
        raise AccessDenied(SUSPENDED, "member_suspended")
    require(member.role, "call")


def address_allowed(address: str, allowed: Sequence[str]) -> bool:
    """Return whether `address` is in one of the `allowed` addresses and networks. Spellings do not matter."""
    canonical = normalize_address(address)
    if not canonical:
        return False
    caller = ip_address(canonical)
    return any(caller in normalize_network(network) for network in allowed)
