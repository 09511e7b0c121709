"""Temporary accounts of `yout prove-cap` and `yout privacy-check`: created with unlisted models, and removed completely.

The models have random ids, are in no list, and are served by a server on loopback that the command runs. Only the audit log
records that the account existed.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple
from uuid import UUID

from shared import ledger, rollup
from shared.catalog.snapshot import UNLISTED_PREFIX
from shared.core.clock import now_ms
from shared.core.database import transaction
from shared.core.secrets import seal
from shared.files.storage import Storage
from shared.ledger.compaction import compact_ledger, delete_calls, merge_oldest_entries, merge_overage
from shared.ledger.seal import is_sealed
from shared.ledger.sql import execute, lock_accounts
from shared.media.finish_job import CANCELLED, finish
from shared.media.inputs import delete_inputs
from shared.media.thumbnails import delete_output_file
from shared.models import (
    Account,
    AIModel,
    ApiKey,
    Channel,
    ChannelModel,
    Conversation,
    FailoverCost,
    FormSubmission,
    Hold,
    LedgerEntry,
    MediaJob,
    MediaOutput,
    OutputSize,
    Person,
    Plan,
    PlatformUsage,
    PurgeJob,
    Share,
    StoredResponse,
    Subscription,
    TokenSample,
)
from shared.operations.accounts import create_account
from shared.operations.audit import Origin, record_audit_entry
from shared.operations.catalog_version import bump_catalog_version
from shared.operations.keys import KeyOptions, create_key
from shared.operations.prices import Rates, insert_price

EMAIL_DOMAIN = "@yout-proof.invalid"
LEFTOVER_MS = 3_600_000  # no command runs this long, so an older account was left by one that was killed


class ProofModel(NamedTuple):
    """A model to create, on a channel of its own: a breaker that one model's failures open does not affect the others."""

    kind: str
    rates: Rates
    dialect: str = "openai"
    path: str = "/v1"  # of the channel's base URL


@dataclass(frozen=True, slots=True)
class ProofAccount:
    """A created account. `models` are the ids by name; `channel_secret` is the credential that its channels send."""

    id: UUID
    email: str
    credits: int
    models: Mapping[str, str]
    key: str = field(repr=False)
    channel_secret: str = field(repr=False)


def create_proof_account(
    base_url: str,
    credits: int,
    models: Mapping[str, ProofModel],
    secret_key: str,
    *,
    stores_content: bool = False,
    origin: Origin,
) -> ProofAccount:
    """Create an account with this many credits, a key, and models served by `base_url` (without a path)."""
    token = secrets.token_hex(16)
    channel_secret = f"sk-{secrets.token_hex(16)}"
    ids = {name: f"{UNLISTED_PREFIX}{token}/{name}" for name in models}
    with transaction():
        account = create_account(f"{token}{EMAIL_DOMAIN}", credits, name="Proof", origin=origin)
        for name, model in models.items():
            channel = Channel.create(
                name=ids[name],
                dialect=model.dialect,
                base_url=base_url + model.path,
                sealed_secret=seal(channel_secret, secret_key),
            )
            AIModel.create(id=ids[name], kind=model.kind, owned_by="yout")
            insert_price(ids[name], model.rates, now_ms())
            ChannelModel.create(channel=channel, model=ids[name], upstream_model=f"proof-{name}")
        bump_catalog_version()
        key = create_key(account.id, "proof", KeyOptions(allowed_models=list(ids.values())), origin=origin)
        if stores_content:
            plan = Plan.create(name=f"{UNLISTED_PREFIX}{token}", stores_content=True, status="disabled")
            Subscription.create(account=account.id, plan=plan)
        record_audit_entry(origin, "proof.create", account.id, after={"credits": credits, "models": list(ids.values())})
    return ProofAccount(account.id, account.email, credits, ids, key.secret, channel_secret)


def remove_proof_account(account: UUID, storage: Storage, secret_key: str, *, origin: Origin) -> None:
    """Remove an account and everything about it. Safe to repeat; does nothing if it is gone, or is not an account of a proof.

    The ledger is collapsed as by a purge. If it keeps an entry, or a seal names the account, it stays, closed and empty. Raises
    `StorageUnavailable`.
    """
    row = Account.get_or_none(Account.id == account)
    if row is None or not row.email.endswith(EMAIL_DOMAIN):
        return
    prefix = UNLISTED_PREFIX + row.email.removesuffix(EMAIL_DOMAIN)
    _end_calls(account, prefix)
    _delete_media(account, storage)
    _collapse_ledger(account, secret_key)
    with transaction():
        _delete_sums(account, prefix)
        for table in (Share, Conversation, StoredResponse):
            table.delete().where(table.account == account).execute()
        FormSubmission.delete().where(FormSubmission.owner == account).execute()
        kept = LedgerEntry.select().where(LedgerEntry.account == account).exists() or is_sealed(account)
        if not kept:
            Account.delete().where(Account.id == account).execute()
            Person.delete().where(Person.email == row.email).execute()
        Plan.delete().where(Plan.name == prefix, Plan.id.not_in(Subscription.select(Subscription.plan))).execute()
        record_audit_entry(origin, "proof.remove", account)


def leftover_proof_accounts(now: int) -> list[UUID]:
    """Return the accounts that killed commands left. `now` is in ms UTC."""
    old = Account.email.endswith(EMAIL_DOMAIN) & (Account.created_at < now - LEFTOVER_MS) & (Account.status == "active")
    return [row.id for row in Account.select(Account.id).where(old)]


def _end_calls(account: UUID, prefix: str) -> None:
    """Close the account, remove its models, and release what its calls hold."""
    now = now_ms()
    with transaction():
        lock_accounts([account])()
        Account.update(status="closed").where(Account.id == account).execute()
        ApiKey.update(revoked_at=now).where((ApiKey.account == account) & ApiKey.revoked_at.is_null()).execute()
        own = AIModel.select(AIModel.id).where(AIModel.id.startswith(f"{prefix}/"))
        AIModel.delete().where(AIModel.id.in_(own)).execute()
        bump_catalog_version()
    for job in MediaJob.select().where((MediaJob.account == account) & MediaJob.finished_at.is_null()):
        finish(job, CANCELLED, lease_id=None)
    with transaction():
        held = [hold.id for hold in Hold.select(Hold.id).where((Hold.account == account) & (Hold.state == "held"))]
        if held:
            ledger.release(held, now, [account])


def _delete_media(account: UUID, storage: Storage) -> None:
    jobs = list(MediaJob.select().where(MediaJob.account == account))
    for job in jobs:
        delete_inputs(job, storage)
    for output in MediaOutput.select().where(MediaOutput.job.in_([job.id for job in jobs])):
        delete_output_file(storage, output)
    with transaction():
        MediaJob.delete().where(MediaJob.account == account).execute()


def _collapse_ledger(account: UUID, secret_key: str) -> None:
    """Remove the balance, and collapse the ledger with the steps of a purge.

    The database refuses them without a row in `purge_job`.
    """
    now = now_ms()
    with transaction():
        pool = lock_accounts([account])()[account]
        if not PurgeJob.select().where((PurgeJob.account == account) & (PurgeJob.status != "done")).exists():
            # If this process is killed, a worker purges the account later.
            PurgeJob.create(account=account, status="running", boundary=now, due_at=now + LEFTOVER_MS)
        if pool.available:
            ledger.post_entry(account, "adjustment", -pool.available, actor="system", reason="end of proof")
    merge_entries = partial(merge_oldest_entries, secret_key=secret_key)
    for step in (merge_overage, delete_calls, merge_entries):
        while True:
            with transaction():
                removed = delete_calls(account) if step is delete_calls else step(account, now_ms())
            if not removed.total:
                break
    with transaction():
        rollup.delete_account_sums(account)
        compact_ledger(account, now_ms(), secret_key)
        PurgeJob.update(status="done", finished_at=now_ms()).where(PurgeJob.account == account).execute()


def _delete_sums(account: UUID, prefix: str) -> None:
    """Delete the sums and samples of its models and channels, which must not appear in the figures of the platform."""
    own = f"{prefix}/"
    for table in (PlatformUsage, OutputSize, FailoverCost, TokenSample):
        table.delete().where(table.model.startswith(own)).execute()
    execute("DELETE FROM allowance WHERE account_id = ?", [account])
    Channel.delete().where(Channel.name.startswith(own)).execute()
    bump_catalog_version()
