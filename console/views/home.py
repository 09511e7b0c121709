"""The first page: how the last 24 hours went."""

from __future__ import annotations

from console import dashboard
from console.views.view import View, shows
from shared.clock import now_ms


class HomeView(View):
    """Figures and where to look closer."""

    @shows("/")
    def index(self) -> str:
        now = now_ms()
        return self.page(
            "home.html",
            day=dashboard.last_day(now),
            holds=dashboard.holds(now),
            accounts=dashboard.count_accounts(),
            models=dashboard.count_models(),
            since=now - dashboard.HOURS * dashboard.HOUR_MS,
            count_up_to=dashboard.COUNT_UP_TO,
        )
