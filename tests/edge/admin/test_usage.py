"""The installation's usage in the administration API."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from shared.core.clock import new_id, now_ms
from shared.models import Account, UsageLedger
from tests import factories
from tests.edge.admin.conftest import AdminClient

DAY_MS = 24 * 3_600_000


def call(account: Account, model: str, credits: int, ago: int = 0, **values: Any) -> None:
    columns = {"id": new_id(), "price": UUID(int=1), "status": "completed", "streamed": True, "input_tokens": 10, **values}
    UsageLedger.create(account=account.id, model=model, credits=credits, created_at=now_ms() - ago, **columns)


def test_usage_is_grouped_and_filtered(admin: AdminClient) -> None:
    model = f"m-{new_id().hex}"
    first, second = factories.account(), factories.account()
    channel = factories.channel("https://api.example.com/v1")
    call(first, model, 5, DAY_MS, channel=channel.id, provider_cost=2)
    call(first, model, 7, status="failed")
    call(second, model, 100)
    by_day = admin.get(f"/usage/?model={model}").json
    assert [row["credits"] for row in by_day["rows"]] == [5, 107]
    assert (by_day["total"]["calls"], by_day["total"]["failed"], by_day["total"]["input_tokens"]) == (3, 1, 30)
    assert (by_day["from"] < by_day["to"], by_day["missing_until"]) == (True, None)
    assert by_day["rows"][0]["group"] < by_day["rows"][1]["group"] == by_day["to"]
    by_account = admin.get(f"/usage/?model={model}&by=account").json
    assert [(row["group"], row["credits"]) for row in by_account["rows"]] == [(str(second.id), 100), (str(first.id), 12)]
    assert by_account["total"] == by_day["total"]
    by_channel = admin.get(f"/usage/?model={model}&by=channel").json["rows"]
    assert [(row["group"], row["provider_cost"], row["margin"]) for row in by_channel] == [(None, 0, None), (channel.name, 2, 3)]
    own = admin.get(f"/usage/?account={first.email}&by=model").json
    assert [(row["group"], row["credits"]) for row in own["rows"]] == [(model, 12)]
    assert admin.get(f"/usage/?account={first.id}&channel={channel.name}&by=model").json["total"]["credits"] == 5


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("from=2026-13-01", "from"),
        ("from=2026-02-02&to=2026-02-01", "from"),
        ("from=2020-01-01&to=2026-01-01", "from"),
        ("by=tag", "by"),
        ("since=2026-01-01", "since"),
    ],
)
def test_invalid_queries_are_refused(admin: AdminClient, query: str, param: str) -> None:
    reply = admin.get(f"/usage/?{query}")
    assert (reply.status, reply.error["param"]) == (400, param)


def test_unknown_filters_get_404(admin: AdminClient) -> None:
    assert admin.get(f"/usage/?account={new_id()}").status == 404
    assert admin.get("/usage/?channel=unknown").status == 404
