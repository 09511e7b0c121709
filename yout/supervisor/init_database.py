"""Prepares the database before the processes start: migrations, embedded models, and in development a demo account."""

from __future__ import annotations

from collections.abc import Collection

from shared.core.settings import Settings
from yout.supervisor.demo_account import DemoCredentials, ensure_demo_account


def migrate_database(settings: Settings) -> None:
    """Migrate the database to the current schema. Raises `SettingsError` if that fails."""
    from shared.core.schema_version import migrate, require_current
    from shared.sealed_columns import require_secret_key
    from yout.command_database import database_session

    with database_session(settings, check_schema=False) as database:
        migrate(database)
        require_current(database)
        require_secret_key(database, settings.secret_key)


def prepare_catalog(settings: Settings, served: Collection[str]) -> DemoCredentials | None:
    """Enable only the embedded models in `served`. Returns the welcome data, or None in production."""
    from shared.operations.seed import sync_local_models
    from yout.command_database import database_session

    with database_session(settings) as _:
        sync_local_models(settings, served)
        return None if settings.production else ensure_demo_account(settings.data_dir)
