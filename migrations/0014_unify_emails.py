"""One form for every e-mail address: composed letters, and domains as people read them (`bücher.example`, not `xn--…`).

An address whose one form another row has already stays as it is: staff decide which of the two accounts to keep. This is a frozen
copy of `shared/identity/emails.py` as it was, so that this file means the same for ever.
"""

import logging
import unicodedata

import idna
from peewee import SqliteDatabase

log = logging.getLogger("yout.migrate")
TABLES = ("account", "staff_user")


def canonical(email):
    """The one form of an address, or the address itself where there is none."""
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
                log.warning("%s %s keeps its e-mail address: another row has its usual form", table, id)
            else:
                db.execute_sql(f"UPDATE {table} SET email = {mark} WHERE id = {mark}", (found, id))  # noqa: S608


def down(migrator, db):
    """Nothing: the former spelling is not known, and both mean the same mailbox."""
