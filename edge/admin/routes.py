"""The resources of the administration API."""

from __future__ import annotations

from edge.admin.accounts import accounts

ADMIN_BLUEPRINTS = (accounts,)
