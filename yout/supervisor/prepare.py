"""The database before the processes start: migrated, seeded, and in development with something to begin with."""

from __future__ import annotations

from shared.settings import Settings
from yout.supervisor.welcome import Welcome, ensure_welcome


def prepare_database(settings: Settings, *, local_model: bool) -> Welcome | None:
    """Bring the database of `settings` to where the stack can run on it. Nothing is welcomed in production."""
    from shared.operations.seed import seed_catalogue
    from shared.schema import migrate, require_current
    from yout.session import database_session

    with database_session(settings, check_schema=False) as database:
        migrate(database)
        require_current(database)
        if local_model:
            seed_catalogue(settings)
        return None if settings.production else ensure_welcome(settings.data_dir)
