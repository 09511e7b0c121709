"""The home page: usage over a range, and what is open now."""

from __future__ import annotations

from flask import current_app, request
from flask.typing import ResponseReturnValue

from console import dashboard, id_labels
from console.charts import usage_charts
from console.time_ranges import DEFAULT_RANGE, RANGES, find_range
from console.views.filters import active_filters, chips, parse_uuid
from console.views.view import View, page_route
from shared.alerts.state import last_evaluation, open_alerts
from shared.alerts.texts import KINDS, AlertText, describe_alert
from shared.core.clock import now_ms
from shared.core.settings import Settings
from shared.job_queue import queue_depths
from shared.operations.accounts import find_account
from shared.operations.channel_checks import flagged_channels
from shared.operations.price_check import latest_check
from shared.operations.prices_in_force import models_below_cost
from shared.rollup import Scope

SHOWN_SEPARATELY = {"channel_flagged", "price_below_cost"}  # the page shows these in detail elsewhere
SILENT_WORKER_MS = 180_000
FILTERS = ("account", "model", "channel")


class HomeView(View):
    """Key figures with links to their details."""

    @page_route("/")
    def index(self) -> ResponseReturnValue:
        now, chosen, filters = now_ms(), find_range(request.args.get("range", "")), active_filters(FILTERS)
        span = chosen.span(now)
        held = {"range": chosen.name} if chosen is not DEFAULT_RANGE else {}
        channels = id_labels.channel_choices()
        usage = dashboard.usage(_scope(filters), span, now)
        settings: Settings = current_app.extensions["yout_settings"]
        return self.page(
            "home.html",
            usage=usage,
            charts=usage_charts(usage.buckets, span.step),
            chosen=chosen,
            ranges=RANGES,
            filters=filters,
            held=held,
            chips=chips("home.index", filters, {"channel": dict(channels)}, held),
            models=id_labels.model_ids(),
            channels=channels,
            business=dashboard.business(span.since, span.until),
            holds=dashboard.holds(now),
            refunds=dashboard.refunds_today(now),
            jobs=dashboard.jobs(span.since),
            queues=queue_depths(settings.broker_url),
            broker=settings.broker_name,
            accounts=dashboard.count_accounts(),
            offered=dashboard.count_models(),
            below_cost=len(models_below_cost()),
            flagged=flagged_channels(),
            price_check=latest_check(),
            alerts=_alerts(),
            silent_since=_silent_since(now),
            count_up_to=dashboard.MAX_COUNT,
        )


def _alerts() -> list[tuple[int, AlertText]]:
    """Return the open alerts: when each opened (ms UTC), and its text."""
    rows = [row for row in open_alerts() if row.kind in KINDS - SHOWN_SEPARATELY]
    return [(row.opened_at or 0, describe_alert(row)) for row in rows]


def _silent_since(now: int) -> int | None:
    """Return when a worker last evaluated the alerts (ms UTC; 0 for never), or None if that was recent."""
    checked_at = last_evaluation()
    return checked_at if now - checked_at > SILENT_WORKER_MS else None


def _scope(filters: dict[str, str]) -> Scope:
    return Scope(
        find_account(filters["account"]).id if "account" in filters else None,
        filters.get("model"),
        parse_uuid("channel", filters["channel"]) if "channel" in filters else None,
    )
