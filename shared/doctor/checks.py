"""The list of checks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import MappingProxyType

import peewee

from shared.core.database import is_sqlite
from shared.core.settings import Settings
from shared.doctor import database, local, servers

# Checks that are skipped if another one fails.
NEEDS = MappingProxyType(
    dict.fromkeys(("migrations", "secret_key", "worker", "channels", "clock"), "database")
    | {"limiter": "redis", "partitions": "migrations", "purges": "migrations"}
)


def checks_of(settings: Settings, target: peewee.Database | None) -> dict[str, Callable[[], str]]:
    """Return all checks by name. `target` is the database of `settings`, bound and not connected; None if there is none."""
    checks: dict[str, Callable[[], str]] = {}
    if target is not None:
        checks = {
            "database": partial(database.check_database, settings, target),
            "migrations": partial(database.check_migrations, target),
            "secret_key": partial(database.check_secret_key, settings, target),
            "worker": partial(database.check_worker, target),
            "channels": partial(database.check_channels, target),
            "purges": partial(database.check_purges, target),
        }
        if not is_sqlite(target):
            checks["partitions"] = partial(database.check_partitions, target)
    if settings.uses_rabbitmq:
        checks["broker"] = partial(servers.check_broker, settings)
    return checks | {
        "clock": partial(database.check_clock, settings, target),
        "redis": partial(servers.check_redis, settings),
        "public_url": partial(servers.check_public_url, settings),
        "certificates": partial(servers.check_certificates, settings),
        "media": partial(servers.check_media, settings),
        "mail": partial(servers.check_mail, settings),
        "disk": partial(local.check_disk, settings),
        "files": partial(local.check_files, settings),
    }
