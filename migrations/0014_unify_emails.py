"""Normalizes all emails: composed letters, and domains in Unicode (`bücher.example`, not `xn--…`).

An email whose normalized form already belongs to another row is kept: staff decide which of the two accounts to keep. The
functions are a frozen copy, so that this migration never changes.
"""

import logging
import unicodedata

import idna
from peewee import SqliteDatabase

log = logging.getLogger("yout.migrate")
TABLES = ("account", "staff_user")


def canonical(email):
    """Return the normalized form of an email, or the email itself if it has none."""
    local, _, domain = unicodedata.normalize("NFC", email).rpartition("@")
    try:
        readable = idna.decode(idna.encode(domain, uts46=True))
    except (idna.IDNAError, UnicodeError):
        return email
    found = unicodedata.normalize("NFC", f"{local.lower()}@{readable}")
    return found if len(found) <= 254 else email


def up(migrator, db):
    mark = "?" if isinstance(db, SqliteDatabase) else "%s"
    bytes_of = "length(CAST(email AS BLOB))" if isinstance(db, SqliteDatabase) else "octet_length(email)"
    for table in TABLES:
        # Tables and placeholders are constants of this file; values are passed as parameters.
        other_forms = f"SELECT id, email FROM {table} WHERE email LIKE {mark} OR {bytes_of} <> length(email)"  # noqa: S608
        for id, email in db.execute_sql(other_forms, ("%xn--%",)).fetchall():
            found = canonical(email)
            if found == email:
                continue
            taken = db.execute_sql(f"SELECT 1 FROM {table} WHERE email = {mark}", (found,)).fetchone()  # noqa: S608
            if taken:
                log.warning("%s %s keeps its email address: another row has its usual form", table, id)
            else:
                db.execute_sql(f"UPDATE {table} SET email = {mark} WHERE id = {mark}", (found, id))  # noqa: S608


def down(migrator, db):
    """Do nothing: the original spelling is unknown, and both mean the same mailbox."""
