"""Opens, checks and closes the database for one command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import peewee
from playhouse.pool import PooledDatabase

from shared.core.database import bind_database, database, open_database
from shared.core.database_errors import is_temporary
from shared.core.errors import YoutError
from shared.core.schema_version import require_current
from shared.core.settings import Settings
from shared.sealed_columns import require_secret_key
from shared.startup import require_readable

ANSWER_SECONDS = 6 * 3600  # effectively no limit: migrations and full checks take long; TCP timeouts detect a dead server


class DatabaseError(YoutError):
    """The database is unreachable or returned an error, which the message quotes."""


@contextmanager
def database_session(
    settings: Settings, *, check_schema: bool = True, check_secret_key: bool = True
) -> Iterator[peewee.Database]:
    """Bind and connect the database of `settings` for the duration of the block.

    Raises `SchemaMismatch` unless the schema is current, `SettingsError` if SECRET_KEY cannot decrypt the encrypted values
    (checked with the schema), and `DatabaseError` for errors of the server.
    """
    target = open_database(settings.database_url, max_connections=2, statement_timeout_seconds=ANSWER_SECONDS)
    bind_database(target)
    try:
        require_readable(target)
        with target.connection_context():
            if check_schema:
                require_current(target)
                if check_secret_key:
                    require_secret_key(target, settings.secret_key)
            yield target
    except peewee.PeeweeException as error:
        if not is_temporary(error):
            raise
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise DatabaseError(f"The database of DATABASE_URL is unavailable: {'; '.join(lines)}") from error
    finally:
        database.initialize(None)
        if isinstance(target, PooledDatabase):
            target.close_idle()
