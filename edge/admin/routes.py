"""The resources of the administration API."""

from __future__ import annotations

from edge.admin.accounts import accounts
from edge.admin.credits import credit_routes
from edge.admin.keys import keys
from edge.admin.members import members
from edge.admin.subscriptions import subscriptions

ADMIN_BLUEPRINTS = (accounts, subscriptions, members, keys, credit_routes)
