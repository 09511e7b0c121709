"""Pages with figures in a real browser: charts, filter chips, a receipt, CSV, releasing a hold, verifying the ledger."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from shared.core.clock import now_ms
from shared.models import AuditEntry
from shared.rollup import update_sums
from tests import factories
from tests.console.conftest import Enter
from tests.console.test_pages import usage_row
from tests.servers.browser import PHONE
from tests.workers.holds import AMOUNT, HOUR_MS, Customer, state_of

pytestmark = pytest.mark.parametrize("any_database_url", ["postgresql"], indirect=True)


@pytest.fixture
def three_days_of_calls(bound_database) -> None:
    """Three days of calls, partly rolled up."""
    owner, channel = factories.account(email="mira@example.com"), factories.channel("https://up.example/v1", name="east")
    factories.model("m-1", channel)
    for number in range(60):
        failed = number % 10 == 0
        usage_row(
            owner,
            model="m-1",
            channel=channel.id,
            status="failed" if failed else "completed",
            first_token_ms=None if failed else 200 + number,
            credits=number,
            created_at=now_ms() - number * HOUR_MS - 1000,
        )
    update_sums(now_ms(), 60)


@pytest.mark.parametrize("options", [{}, {"viewport": PHONE, "scheme": "dark"}])
async def test_home_draws_charts_from_tables_and_switches_the_range(three_days_of_calls, enter: Enter, options) -> None:
    page = await enter("/", **options)
    await page.wait_for_selector("figure[data-chart] canvas")
    assert await page.locator("figure[data-chart] canvas").count() == 3
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page must not scroll sideways"
    await page.click("nav.ranges >> text=7d")
    await page.wait_for_selector("figure[data-chart] canvas")
    assert await page.inner_text("h1") == "The last 7 days"
    await page.click("text=Show data >> nth=0")
    rows = await page.locator("figure[data-chart] >> nth=0 >> tbody tr").all_inner_texts()
    assert sum(int(row.split("\t")[1]) for row in rows) == 60
    await page.select_option("#model", "m-1")
    await page.wait_for_url("**/?range=7d&model=m-1**")
    await page.click("a.chip")
    await page.wait_for_url("**/?range=7d")


async def test_a_filter_shows_as_a_chip_and_a_row_opens_its_receipt(three_days_of_calls, enter: Enter) -> None:
    page = await enter("/usage/")
    assert await page.locator("tbody tr").count() == 50
    await page.select_option("#status", "failed")
    await page.wait_for_selector("a.chip:has-text('failed')")
    assert await page.locator("tbody tr").count() == 6
    await page.locator("tbody tr >> nth=0 >> td >> nth=6").click(force=True)  # the row's link covers the whole row
    await page.wait_for_selector("h1:has-text('Receipt')")
    assert "east" in await page.inner_text("aside")


async def test_the_csv_contains_exactly_the_filtered_rows(three_days_of_calls, enter: Enter, tmp_path: Path) -> None:
    page = await enter("/usage/?status=failed")
    async with page.expect_download() as expected:
        await page.click("text=Export CSV")
    download = await expected.value
    assert download.suggested_filename == "usage.csv"
    await download.save_as(tmp_path / "usage.csv")
    with (tmp_path / "usage.csv").open(newline="", encoding="utf-8-sig") as file:
        lines = list(csv.DictReader(file))
    assert [line["status"] for line in lines] == ["failed"] * 6
    assert AuditEntry.get(AuditEntry.action == "export.usage").after == {"status": "failed"}


async def test_a_hold_is_released_with_a_reason(enter: Enter) -> None:
    customer = Customer(credits=1_000)
    [call_id] = customer.hold(lasts_ms=HOUR_MS)
    page = await enter("/holds/")
    await page.click("tbody tr a.row")
    await page.fill("#reason", "stuck since noon")
    await page.click(f"text=Release {AMOUNT} credits")
    await page.wait_for_selector(f"text={AMOUNT} credits released")
    assert "stuck since noon" in await page.inner_text("main")
    assert (state_of(call_id), customer.held) == ("none", 0)


async def test_a_button_verifies_the_ledger(enter: Enter) -> None:
    Customer(credits=1_000)
    page = await enter("/ledger/")
    await page.click("text=Verify ledger")
    await page.wait_for_selector("text=The ledger balances. Verified 1 accounts, 1 entries")
