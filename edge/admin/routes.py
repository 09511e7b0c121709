"""The resources of the administration API."""

from __future__ import annotations

from edge.admin.accounts import accounts
from edge.admin.channels import channels
from edge.admin.credits import credit_routes
from edge.admin.keys import keys
from edge.admin.members import members
from edge.admin.model_routes import model_routes
from edge.admin.models import models
from edge.admin.plans import plans
from edge.admin.prices import prices
from edge.admin.subscriptions import subscriptions
from edge.admin.usage import usage

ADMIN_BLUEPRINTS = (
    *(accounts, subscriptions, members, keys, credit_routes),
    *(plans, channels, models, model_routes, prices, usage),
)
