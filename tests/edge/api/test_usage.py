"""The usage API: sums equal the usage rows, a key gets the usage of its own family, and errors name the invalid parameter."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import pytest

from edge.api.usage import DAY_MS, MAX_DAYS, MAX_TAGS, _limited, read_usage_request
from shared.core.clock import new_id, now_ms
from shared.core.errors import InvalidRequest
from shared.models import AccountTotal, AccountUsage, KeyUsage, PlatformUsage, RollupState, TagUsage, UsageLedger
from shared.operations.web_accounts import create_session, sign_up
from shared.rollup import OTHER_TAGS, UsageSums, update_sums
from tests import factories
from tests.edge.api.conftest import ApiStack, Customer
from tests.edge.web.conftest import COOKIE

NOON = 20_000 * DAY_MS + DAY_MS // 2  # 2024-10-04
SUMS = UsageSums._fields


def call(account: Any, ago: int = 0, **values: Any) -> UsageLedger:
    columns = {"id": new_id(), "model": "m-1", "price": UUID(int=1), "status": "completed", "streamed": True, **values}
    return UsageLedger.create(account=account, created_at=now_ms() - ago, **columns)


def report(customer: Customer, **query: str) -> dict[str, Any]:
    answer = customer.get(f"/api/usage/?{urlencode(query)}")
    assert answer.status == 200, answer.body
    document: dict[str, Any] = answer.json
    assert document["total"] == {name: sum(row[name] for row in document["rows"]) for name in SUMS}
    return document


def rows_of(document: dict[str, Any], by: str, column: str) -> dict[Any, int]:
    return {row[by]: row[column] for row in document["rows"]}


@pytest.fixture
def spread(customer: Customer) -> Customer:
    """A customer with calls of two keys and a session, on several days."""
    for table in (KeyUsage, TagUsage, AccountUsage, AccountTotal, PlatformUsage):  # of another test
        table.delete().execute()
    # Earlier hours are left out: another test may have written very old calls.
    RollupState.update(rolled_until=now_ms() // DAY_MS * DAY_MS - 5 * DAY_MS, checked_at=None, keys_from=0).execute()
    other = factories.api_key(customer.account)[0]
    keys = [None, other.id, new_id()]
    for number in range(24):
        call(
            customer.account.id,
            number * DAY_MS // 8,
            api_key=keys[number % 3],
            model=f"m-{number % 2}",
            status=("completed", "failed", "cancelled")[number % 3],
            tag=(None, "team:a", "team:b", "team:a")[number % 4],
            input_tokens=number,
            cached_tokens=number // 2,
            output_tokens=2 * number,
            credits=number * number,
        )
    call(factories.account().id, credits=7)
    return customer


def test_the_sums_equal_the_usage_rows(spread: Customer) -> None:
    compare_with_rows(spread)
    update_sums(now_ms() - DAY_MS, 30)
    assert KeyUsage.select().where(KeyUsage.account == spread.account.id, KeyUsage.grain_hours == 24).exists()
    compare_with_rows(spread)


def compare_with_rows(customer: Customer) -> None:
    for by in ("day", "model", "key", "tag"):
        document = report(customer, by=by)
        expected: dict[Any, UsageSums] = {}
        for row in UsageLedger.select().where(UsageLedger.account == customer.account.id):
            day = f"{datetime.fromtimestamp(row.created_at / 1000, UTC):%Y-%m-%d}"
            key = row.api_key and str(row.api_key)
            group = {"day": day, "model": row.model, "key": key, "tag": row.tag}[by]
            counts = (row.input_tokens, row.cached_tokens, row.output_tokens, row.credits)
            sums = UsageSums(1, row.status == "failed", *counts)
            expected[group] = expected.get(group, UsageSums()).plus(sums)
        assert {row[by]: UsageSums(*(row[name] for name in SUMS)) for row in document["rows"]} == expected
        order = [row[by] for row in document["rows"]]
        assert order == (sorted(order) if by == "day" else sorted(order, key=lambda name: -expected[name].credits))


def test_a_range_includes_both_days(spread: Customer) -> None:
    today = datetime.fromtimestamp(now_ms() / 1000, UTC).date()
    whole = rows_of(report(spread), "day", "credits")
    days = sorted(whole)[1:3]
    document = report(spread, **{"from": days[0], "to": days[1]})
    assert (document["from"], document["to"], rows_of(document, "day", "credits")) == (
        *days,
        {day: whole[day] for day in days},
    )
    assert report(spread, to=today.isoformat())["total"] == report(spread)["total"]


def test_the_names_of_keys(customer: Customer) -> None:
    key = factories.api_key(customer.account, name="laptop")[0]
    for api_key in (key.id, None, new_id()):
        call(customer.account.id, api_key=api_key)
    assert {row["key_name"] for row in report(customer, by="key")["rows"]} == {"laptop", None}


def test_csv_has_the_same_rows(spread: Customer) -> None:
    for by in ("day", "model", "key", "tag"):
        answer = spread.get(f"/api/usage/?by={by}&format=csv")
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        assert f"yout-usage-by-{by}-" in answer.headers["content-disposition"]
        assert answer.headers["cache-control"] == "no-store"
        lines = list(csv.DictReader(io.StringIO(answer.body.decode("utf-8-sig"))))
        rows = report(spread, by=by)["rows"]
        assert lines == [{name: "" if value is None else str(value) for name, value in row.items()} for row in rows]


def test_a_key_with_limits_sees_its_family_only(customer: Customer) -> None:
    limited, secret = factories.api_key(customer.account, rpm=100)
    child, secret_of_child = factories.api_key(customer.account, parent=limited.id, rpm=100)
    for api_key, credits in ((None, 1), (new_id(), 2), (limited.id, 4), (child.id, 8)):
        call(customer.account.id, api_key=api_key, credits=credits)
    for key, seen in ((customer.secret, 15), (secret, 12), (secret_of_child, 8)):
        assert report(customer.with_key(key), by="key")["total"]["credits"] == seen


def test_a_session_sees_the_account(api: ApiStack) -> None:
    account = sign_up(f"{new_id().hex}@example.com", "hash", 0)
    call(account.id, credits=5, tag="team:a")
    call(factories.account().id, credits=7, tag="team:b")
    cookie = create_session(account.id, "", password_hash="hash").secret
    answer = api.request("GET", "/api/usage/?by=tag", headers={"cookie": f"{COOKIE}={cookie}"})
    assert [(row["tag"], row["credits"]) for row in answer.json["rows"]] == [("team:a", 5)]
    assert api.request("GET", "/api/usage/").status == 401


def test_a_query_counts_as_a_request(api: ApiStack) -> None:
    customer = api.customer(rpm=1)
    assert customer.get("/api/usage/").status == 200
    assert customer.get("/api/usage/").status == 429


@pytest.mark.parametrize(
    ("query", "first", "last"),
    [
        ({}, "2024-09-05", "2024-10-04"),
        ({"to": "2024-03-01"}, "2024-02-01", "2024-03-01"),
        ({"from": "2024-10-04"}, "2024-10-04", "2024-10-04"),
        ({"from": "2023-10-05", "to": "2024-10-04"}, "2023-10-05", "2024-10-04"),
        ({"from": "9999-12-31", "to": "9999-12-31"}, "9999-12-31", "9999-12-31"),
        ({"to": "0001-01-02"}, "0001-01-01", "0001-01-02"),
    ],
)
def test_ranges(query: dict[str, str], first: str, last: str) -> None:
    found = read_usage_request(query, NOON)
    assert (str(found.first), str(found.last), found.by, found.format) == (first, last, "day", "json")
    assert found.until - found.since == ((found.last - found.first).days + 1) * DAY_MS


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"from": "yesterday"}, "from"),
        ({"from": "2024-2-1"}, "from"),
        ({"from": "20240201"}, "from"),
        ({"from": "2024-W05-1"}, "from"),
        ({"to": "2024-02-30"}, "to"),
        ({"to": ""}, "to"),
        ({"to": "2024-02-01T00:00:00Z"}, "to"),
        ({"from": "2024-10-05"}, "from"),
        ({"from": "2024-02-02", "to": "2024-02-01"}, "from"),
        ({"from": "2023-10-04", "to": "2024-10-04"}, "from"),
        ({"by": "account"}, "by"),
        ({"by": ""}, "by"),
        ({"format": "xml"}, "format"),
    ],
)
def test_invalid_queries_are_named(query: dict[str, str], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_usage_request(query, NOON)
    assert refused.value.param == param
    assert str(MAX_DAYS) in str(refused.value) or query.get("from") != "2023-10-04"


def test_tags_beyond_the_limit_are_added_to_the_others() -> None:
    one = UsageSums(1, 0, 1, 0, 1, 1)
    groups = {None: one, OTHER_TAGS: one, **{f"t-{number:04}": one for number in range(MAX_TAGS + 1)}}
    found = _limited(groups)
    assert len(found) == MAX_TAGS + 2
    assert (found[OTHER_TAGS].calls, found[None].calls, f"t-{MAX_TAGS:04}" in found) == (2, 1, False)
