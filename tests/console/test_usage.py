"""The usage page: filters alone and combined, totals, pagination while calls come in, and the filtered CSV."""

from __future__ import annotations

import csv
import io
import random
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import peewee
import pytest

from console import paging, query_timeout
from console.views import usage_filters
from shared.core.clock import now_ms
from shared.core.database import database
from shared.models import AuditEntry, Channel, MediaJob, Price, UsageLedger
from shared.rollup import update_sums
from tests import factories
from tests.console.test_home import figures_of
from tests.console.test_pages import all_matches, usage_row
from tests.upstream_responses import WAIT_SECONDS

HOUR = 3_600_000
LINK = r'class="row" href="/usage/([0-9a-f-]+)"'


@pytest.fixture
def varied_calls(bound_database) -> dict[str, Any]:
    """Calls that differ in every filterable field."""
    owners = [factories.account(email=f"{name}@example.com") for name in ("mira", "tom")]
    keys = [factories.api_key(owner)[0] for owner in owners]
    channels = [factories.channel("https://up.example/v1", name=name) for name in ("east", "west")]
    for name in ("m-1", "m-2"):
        factories.model(name, *channels)
    chosen, now = random.Random(7), now_ms()
    for number in range(70):
        owner = chosen.randrange(2)
        status = chosen.choice(["completed"] * 4 + ["failed", "cancelled"])
        usage_row(
            owners[owner],
            api_key=keys[owner].id,
            model=chosen.choice(["m-1", "m-2"]),
            channel=chosen.choice([None, channels[0].id, channels[1].id]),
            status=status,
            error_code=chosen.choice(["upstream_timeout", "upstream_error"]) if status == "failed" else None,
            estimated=chosen.random() < 0.2,
            streamed=chosen.random() < 0.5,
            tag=chosen.choice([None, "team:a", "team:b"]),
            input_tokens=number,
            cached_tokens=number // 3,
            credits=chosen.randrange(1000),
            created_at=now - number * HOUR,
        )
    return {"owner": owners[0], "key": keys[0], "channel": channels[0], "now": now}


def filters_of(varied_calls: dict[str, Any]) -> dict[str, tuple[str, Any]]:
    """Each filter: its query string, and a predicate for the calls that it should match."""
    some, now = UsageLedger.select().order_by(UsageLedger.created_at).first(), varied_calls["now"]
    return {
        "account": (f"account={varied_calls['owner'].email}", lambda row: row.account_id == varied_calls["owner"].id),
        "key": (f"key={varied_calls['key'].id}", lambda row: row.api_key == varied_calls["key"].id),
        "model": ("model=m-1", lambda row: row.model == "m-1"),
        "channel": (f"channel={varied_calls['channel'].id}", lambda row: row.channel == varied_calls["channel"].id),
        "status": ("status=failed", lambda row: row.status == "failed"),
        "error": ("error=upstream_timeout", lambda row: row.error_code == "upstream_timeout"),
        "estimated": ("estimated=yes", lambda row: row.estimated),
        "not estimated": ("estimated=no", lambda row: not row.estimated),
        "streamed": ("streamed=no", lambda row: not row.streamed),
        "tag": ("tag=team:a", lambda row: row.tag == "team:a"),
        "request": (f"request=chatcmpl-{some.id.hex}", lambda row: row.id == some.id),
        "range": ("range=24h", lambda row: row.created_at > now - 25 * HOUR),
        "since": (f"since={moment(now - 40 * HOUR)}", lambda row: row.created_at >= now - 40 * HOUR - now % 60_000),
        "until": (f"until={moment(now - 40 * HOUR)}", lambda row: row.created_at < now - 40 * HOUR - now % 60_000),
    }


def moment(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms // 60_000 * 60, UTC):%Y-%m-%dT%H:%M}"


def csv_of(browser: Any, query: str) -> list[dict[str, str]]:
    answer = browser.get(f"/usage/usage.csv?{query}", buffered=True)
    assert (answer.status_code, answer.mimetype) == (200, "text/csv")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="usage.csv"'
    return list(csv.DictReader(io.StringIO(answer.data.decode("utf-8-sig"))))


def test_each_filter_applies_to_the_page_the_totals_and_the_csv(signed_in, varied_calls):
    browser = signed_in("readonly")
    rows = list(UsageLedger.select().order_by(UsageLedger.created_at.desc(), UsageLedger.id.desc()))
    for rolled in (False, True):
        for name, (query, wanted) in filters_of(varied_calls).items():
            expected = [row for row in rows if wanted(row)]
            assert 0 < len(expected) < len(rows), name
            assert all_matches(browser, f"/usage/?{query}", LINK) == [str(row.id) for row in expected], name
            text = browser.get(f"/usage/?{query}").text
            sums = {key.split(" <")[0]: value for key, value in figures_of(re.sub(" <small>[^<]*</small>", "", text)).items()}
            assert sums["Calls"] == str(len(expected)), (name, rolled)
            cached = 100 * sum(row.cached_tokens for row in expected) / sum(row.input_tokens for row in expected)
            assert sums["Cached"] == f"{cached:.2f}\u202f%", (name, rolled)
            assert sums["Credits charged"].replace("\u202f", "") == str(sum(row.credits for row in expected)), (name, rolled)
            assert [line["request_id"] for line in csv_of(browser, query)] == [str(row.id) for row in expected], name
        update_sums(varied_calls["now"], 60)


def test_combined_filters_show_as_removable_chips(signed_in, varied_calls):
    browser = signed_in("owner")
    queries = [
        query for name, (query, _) in filters_of(varied_calls).items() if name in ("account", "model", "status", "estimated")
    ]
    text = browser.get(f"/usage/?{'&'.join(queries)}").text
    assert text.count('class="chip"') == 4
    [without_status] = re.findall(r'class="chip" href="([^"]+)"[^>]*><i>status</i>', text)
    assert without_status == "/usage/?account=mira@example.com&amp;model=m-1&amp;estimated=yes"
    assert "upstream_timeout" in browser.get("/usage/?error=upstream_timeout").text


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("since=yesterday", "is not a valid time"),
        ("since=2026-11-24T10:00%2B02:00", "in UTC"),
        ("range=2y", "Unknown range"),
        ("status=odd", "Unknown status"),
        ("estimated=maybe", "must be yes or no"),
        ("request=xyz", "is not a valid request ID"),
        ("channel=xyz", "is not a valid channel ID"),
    ],
)
def test_an_invalid_filter_is_explained(signed_in, query, words):
    browser = signed_in("owner")
    for path in ("/usage/", "/usage/usage.csv"):
        answer = browser.get(f"{path}?{query}")
        assert (answer.status_code, words in answer.text) == (400, True), answer.text


@pytest.mark.parametrize("what", ["page", "csv"])
def test_pagination_neither_loses_nor_repeats_calls_while_calls_come_in(signed_in, monkeypatch, what):
    """New calls start now; late rows belong to calls that started earlier and may appear on any page."""
    monkeypatch.setattr(paging, "BATCH_SIZE", 7)
    monkeypatch.setattr(paging.iterate_batches, "__defaults__", (7,))
    owner, chosen, now = factories.account(), random.Random(3), now_ms()
    before = {str(usage_row(owner, created_at=now - chosen.randrange(50) * 1000).id) for _ in range(160)}
    original = paging._older_than

    with ThreadPoolExecutor(1) as elsewhere:  # on a connection of its own, as the edge uses

        def coming_in(*arguments: Any) -> Any:
            elsewhere.submit(usage_row, owner, created_at=now_ms()).result(WAIT_SECONDS)
            elsewhere.submit(usage_row, owner, created_at=now - chosen.randrange(50) * 1000).result(WAIT_SECONDS)
            return original(*arguments)

        monkeypatch.setattr(paging, "_older_than", coming_in)
        browser = signed_in("owner")
        if what == "page":
            seen = all_matches(browser, "/usage/?model=m", LINK)
        else:
            seen = [line["request_id"] for line in csv_of(browser, "")]
        elsewhere.submit(database.close).result(WAIT_SECONDS)
    assert len(seen) == len(set(seen))
    assert before <= set(seen)
    assert UsageLedger.select().count() > 160


def test_the_csv_has_all_columns_and_no_formula_or_secret(signed_in, varied_calls):
    Channel.update(name='=HYPERLINK("x")').where(Channel.id == varied_calls["channel"].id).execute()
    UsageLedger.update(error_code="@SUM(1)").where(UsageLedger.status == "failed").execute()
    lines = csv_of(signed_in("owner"), "")
    assert len(lines) == 70
    assert {line["channel"][:2] for line in lines if line["channel"] not in ("", "west")} == {"'="}
    assert {line["error_code"] for line in lines} == {"", "'@SUM(1)"}
    assert {line["streamed"] for line in lines} == {"yes", "no"}
    assert all(line["key"].endswith("…") for line in lines)
    assert lines[0]["began_at"].endswith("Z")
    trail = AuditEntry.get(AuditEntry.action == "export.usage")
    assert (trail.actor, trail.after) == ("owner@yout.example", {})


def test_totals_without_a_rollup_cover_the_newest_calls_and_say_so(signed_in, varied_calls, monkeypatch):
    monkeypatch.setattr(usage_filters, "MAX_ROWS_SUMMED", 5)
    text = signed_in("owner").get("/usage/?streamed=yes").text
    assert "Totals of the newest 5 calls" in text


@pytest.mark.parametrize("any_database_url", ["postgresql"], indirect=True)
def test_a_slow_query_is_cancelled_and_explained(bound_database, signed_in, monkeypatch):
    usage_row(factories.account())
    assert query_timeout.run_with_timeout(lambda: database.execute_sql("SELECT pg_sleep(5)"), seconds=0.05) is None
    with pytest.raises(peewee.ProgrammingError):
        query_timeout.run_with_timeout(lambda: database.execute_sql("SELECT no_such_column"))
    monkeypatch.setattr("console.views.usage.run_with_timeout", lambda ask: None)
    text = signed_in("owner").get("/usage/?streamed=yes").text
    assert "Query timed out" in text
    assert "Too many calls to add up" in text


def test_a_receipt_lists_ledger_entries_and_staff_actions(signed_in):
    owner = factories.account(credits=100)
    made = usage_row(owner, id=UUID(int=77), credits=7, asked_model="other", failed_attempts="status_503,timeout", attempts=3)
    text = signed_in("owner").get(f"/usage/{made.id}").text
    assert "requested other" in text
    assert "failed: status_503, timeout" in text


@pytest.mark.parametrize(
    ("kind", "options", "prices", "credits", "line"),
    [
        ("image", {"n": 4, "delivered": 3}, {"per_call": 40_000}, 120_000, "Images"),
        ("video", {"seconds": 6, "delivered": 1}, {"per_5_seconds": 1_200_000}, 2_400_000, "Seconds"),
        ("speech", {"characters": 1_001, "delivered": 1}, {"per_1k_characters": 15_000}, 15_015, "Characters"),
    ],
)
def test_a_media_receipt_counts_delivered_units(signed_in, kind, options, prices, credits, line):
    owner = factories.account(credits=10_000_000)
    factories.model("m-media", kind=kind, input=0, output=0, **prices)
    made = usage_row(owner, model="m-media", price=Price.get(Price.model == "m-media").id, credits=credits)
    times = {"due_at": 1, "deadline_at": 1, "finished_at": 1}
    MediaJob.create(
        id=made.id, account=owner, kind=kind, model="m-media", price=made.price, options=options, status="succeeded",
        credits_held=credits * 2, credits_charged=credits, **times,
    )  # fmt: skip
    text = signed_in("owner").get(f"/usage/{made.id}").text
    assert line in text
    assert "Charged by count." in text
