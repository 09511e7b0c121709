"""The catalogue's version: one number that edges poll to learn that their snapshot is old."""

from __future__ import annotations

from shared.models import CatalogVersion


def bump_catalog_version() -> None:
    """Raise the version by one, in the transaction of the change that it announces."""
    if not CatalogVersion.update(version=CatalogVersion.version + 1).execute():
        CatalogVersion.create(id=1, version=1)
