"""Existing accounts are unverified after the migration, and have no waiting credits."""

from __future__ import annotations

import peewee
import pytest
from playhouse.migrations import Runner

from shared.core.schema_version import MIGRATIONS, migrate
from shared.models import Account, OutgoingMail
from shared.operations.verification import confirm_email, request_verification
from tests import factories
from tests.factories import ORIGIN

NAME = "0016_add_mail"


def test_accounts_of_before_receive_nothing_for_verifying(bound_database: peewee.Database) -> None:
    owner = factories.account(email="ada@example.com", credits=500)
    Runner(bound_database, str(MIGRATIONS)).down(NAME)
    assert "outgoing_mail" not in bound_database.get_tables()
    assert NAME in migrate(bound_database)
    kept = Account.get_by_id(owner.id)
    assert (kept.balance, kept.email_verified_at, kept.pending_credits) == (500, None, 0)
    assert request_verification(owner.id, origin=ORIGIN)
    assert confirm_email(owner.id, "ada@example.com", origin=ORIGIN).credits == 0
    assert Account.get_by_id(owner.id).balance == 500
    with pytest.raises(peewee.IntegrityError), bound_database.atomic():
        Account.update(pending_credits=-1).execute()
    with pytest.raises(peewee.IntegrityError), bound_database.atomic():
        OutgoingMail.create(account=owner.id, kind="x", recipient="x", status="sent")
