"""The pages of the console, one module per area."""

from __future__ import annotations

from flask_admin import BaseView

from console.views.account_management import AccountCareView
from console.views.accounts import AccountsView
from console.views.audit import AuditView
from console.views.channels import ChannelsView
from console.views.holds import HoldsView
from console.views.home import HomeView
from console.views.jobs import JobsView
from console.views.keys import KeysView
from console.views.ledger import LedgerView
from console.views.list_prices import ListPricesView
from console.views.model_aliases import AliasesView
from console.views.model_routes import RoutesView
from console.views.models import ModelsView
from console.views.my_account import MeView
from console.views.plans import PlansView
from console.views.redeem_codes import CodesView
from console.views.staff import StaffView
from console.views.usage import UsageView


def home_view() -> BaseView:
    """Return the home page."""
    return HomeView(name="Home", endpoint="home", url="/")


def views() -> list[BaseView]:
    """Return every other page, in menu order."""
    return [
        AccountsView(name="Accounts", category="Customers", endpoint="accounts", url="/accounts"),
        KeysView(name="API keys", category="Customers", endpoint="keys", url="/keys"),
        UsageView(name="Usage", category="Calls", endpoint="usage", url="/usage"),
        HoldsView(name="Holds", category="Calls", endpoint="holds", url="/holds"),
        JobsView(name="Media jobs", category="Calls", endpoint="jobs", url="/jobs"),
        LedgerView(name="Ledger", category="Money", endpoint="ledger", url="/ledger"),
        PlansView(name="Plans", category="Money", endpoint="plans", url="/plans"),
        CodesView(name="Redeem codes", category="Money", endpoint="codes", url="/codes"),
        ModelsView(name="Models and prices", category="Catalog", endpoint="models", url="/models"),
        ListPricesView(name="List prices", category="Catalog", endpoint="list_prices", url="/list-prices"),
        AliasesView(name="Aliases", category="Catalog", endpoint="aliases", url="/aliases"),
        ChannelsView(name="Channels", category="Catalog", endpoint="channels", url="/channels"),
        StaffView(name="Staff", category="Console", endpoint="staff", url="/staff"),
        AuditView(name="Audit log", category="Console", endpoint="audit", url="/audit"),
        AccountCareView(name="Account", endpoint="account_care", url="/account"),
        RoutesView(name="Routes", endpoint="routes", url="/routes"),
        MeView(name="Your account", endpoint="me", url="/me"),
    ]
