"""Adds each account's owner: a person with the account's sign-in, and their membership, both with the account's id.

It reads `account` and locks its rows only against deletion, so calls and sign-ins continue. Accounts that the previous release
creates afterwards get their owner when they are first used (`shared/operations/people.py`).
"""


def up(migrator, db):
    db.execute_sql(
        "INSERT INTO person (id, email, password_hash, email_verified_at, language, created_at)"
        " SELECT id, email, password_hash, email_verified_at, language, created_at FROM account"
        " WHERE email <> 'visitors'"  # their pool has no owner
    )
    db.execute_sql(
        "INSERT INTO member (id, account_id, person_id, role, created_at)"
        " SELECT a.id, a.id, a.id, 'owner', a.created_at FROM account a JOIN person p ON p.id = a.id"
    )


def down(migrator, db):
    db.execute_sql("DELETE FROM member")
    db.execute_sql("DELETE FROM person")
