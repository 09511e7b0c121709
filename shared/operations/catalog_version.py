"""The catalog version, which edge processes poll to detect changes."""

from __future__ import annotations

from shared.models import CatalogVersion


def bump_catalog_version() -> None:
    """Increment the version in the transaction of a catalog change."""
    if not CatalogVersion.update(version=CatalogVersion.version + 1).execute():
        CatalogVersion.create(id=1, version=1)
