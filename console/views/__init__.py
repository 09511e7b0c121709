"""The pages of the console, one module per area."""

from __future__ import annotations

from flask_admin import BaseView

from console.views.account_management import AccountCareView
from console.views.accounts import AccountsView
from console.views.admin_keys import AdminKeysView
from console.views.audit import AuditView
from console.views.channels import ChannelsView
from console.views.holds import HoldsView
from console.views.home import HomeView
from console.views.jobs import JobsView
from console.views.keys import KeysView
from console.views.ledger import LedgerView
from console.views.list_prices import ListPricesView
from console.views.mails import MailsView
from console.views.members import MembersView
from console.views.model_aliases import AliasesView
from console.views.model_routes import RoutesView
from console.views.models import ModelsView
from console.views.my_account import MeView
from console.views.payments import PaymentsView
from console.views.plans import PlansView
from console.views.redeem_codes import CodesView
from console.views.search import SearchView
from console.views.staff import StaffView
from console.views.usage import UsageView
from shared.text.translation import lazy_gettext


def home_view() -> BaseView:
    """Return the home page."""
    return HomeView(name=lazy_gettext("Home"), endpoint="home", url="/")


def views() -> list[BaseView]:
    """Return every other page, in menu order."""
    return [
        AccountsView(name=lazy_gettext("Accounts"), category=lazy_gettext("Customers"), endpoint="accounts", url="/accounts"),
        KeysView(name=lazy_gettext("API keys"), category=lazy_gettext("Customers"), endpoint="keys", url="/keys"),
        MailsView(name=lazy_gettext("Emails"), category=lazy_gettext("Customers"), endpoint="mails", url="/mails"),
        UsageView(name=lazy_gettext("Usage"), category=lazy_gettext("Calls"), endpoint="usage", url="/usage"),
        HoldsView(name=lazy_gettext("Holds"), category=lazy_gettext("Calls"), endpoint="holds", url="/holds"),
        JobsView(name=lazy_gettext("Media jobs"), category=lazy_gettext("Calls"), endpoint="jobs", url="/jobs"),
        LedgerView(name=lazy_gettext("Ledger"), category=lazy_gettext("Money"), endpoint="ledger", url="/ledger"),
        PaymentsView(name=lazy_gettext("Payments"), category=lazy_gettext("Money"), endpoint="payments", url="/payments"),
        PlansView(name=lazy_gettext("Plans"), category=lazy_gettext("Money"), endpoint="plans", url="/plans"),
        CodesView(name=lazy_gettext("Redeem codes"), category=lazy_gettext("Money"), endpoint="codes", url="/codes"),
        ModelsView(name=lazy_gettext("Models and prices"), category=lazy_gettext("Catalog"), endpoint="models", url="/models"),
        ListPricesView(
            name=lazy_gettext("List prices"), category=lazy_gettext("Catalog"), endpoint="list_prices", url="/list-prices"
        ),
        AliasesView(name=lazy_gettext("Aliases"), category=lazy_gettext("Catalog"), endpoint="aliases", url="/aliases"),
        ChannelsView(name=lazy_gettext("Channels"), category=lazy_gettext("Catalog"), endpoint="channels", url="/channels"),
        StaffView(name=lazy_gettext("Staff"), category=lazy_gettext("Console"), endpoint="staff", url="/staff"),
        AdminKeysView(
            name=lazy_gettext("Admin keys"), category=lazy_gettext("Console"), endpoint="admin_keys", url="/admin-keys"
        ),
        AuditView(name=lazy_gettext("Audit log"), category=lazy_gettext("Console"), endpoint="audit", url="/audit"),
        SearchView(name=lazy_gettext("Search"), endpoint="search", url="/search"),
        AccountCareView(name=lazy_gettext("Account"), endpoint="account_care", url="/account"),
        MembersView(name=lazy_gettext("Members"), endpoint="members", url="/members"),
        RoutesView(name=lazy_gettext("Routes"), endpoint="routes", url="/routes"),
        MeView(name=lazy_gettext("Your account"), endpoint="me", url="/me"),
    ]
