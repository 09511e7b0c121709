"""The migration normalizes emails, except where another row already has the normalized form."""

from __future__ import annotations

import unicodedata

import peewee
from playhouse.migrations import Runner

from shared.core.schema_version import MIGRATIONS, migrate
from shared.models import Account, StaffUser

NAME = "0014_unify_emails"


def test_emails_are_normalized_unless_the_result_is_taken(bound_database: peewee.Database) -> None:
    decomposed = unicodedata.normalize("NFD", "jürgen@example.com")
    emails = ["plain@example.com", "ida@xn--bcher-kva.example", decomposed, "twin@xn--bcher-kva.example", "twin@bücher.example"]
    for email in [*emails, "odd@xn--a"]:
        Account.create(email=email)
    StaffUser.create(email="eve@xn--bcher-kva.example", password_hash="x", role="owner")
    Runner(bound_database, str(MIGRATIONS)).down(NAME)
    assert NAME in migrate(bound_database)
    assert {row.email for row in Account.select()} >= {
        *("plain@example.com", "ida@bücher.example", "jürgen@example.com", "odd@xn--a"),
        *("twin@xn--bcher-kva.example", "twin@bücher.example"),
    }
    assert StaffUser.get().email == "eve@bücher.example"
