"""A customer's way from the request id of an answer to a verified receipt, in a real browser."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.async_api import expect

from shared.core.clock import now_ms
from shared.ledger.seal import seal_ledger
from tests import factories
from tests.conftest import OpenPage
from tests.edge.http_calls import chat
from tests.edge.web.conftest import Site
from tests.page_checks import check_page
from tests.yout.command import Installation

pytestmark = pytest.mark.parametrize("running_site", ["sqlite"], indirect=True)
CHANGED = """async () => {
  const { checkReceipt } = await import(document.querySelector("script[src*='receipt']").src);
  const receipt = await (await fetch(document.querySelector("#proof").dataset.receipt)).json();
  const heads = await (await fetch("/.well-known/yout-ledger-heads.json")).json();
  const results = [];
  for (const change of [
    (r) => { r.credits_charged += 1; }, (r) => { r.proof.entry.created_at += 1; }, (r) => { r.proof.leaf.seq += 1; },
    (r) => { r.proof.seal.signature = r.proof.seal.signature.replace(/^./, (c) => c === "A" ? "B" : "A"); },
  ]) {
    const changed = structuredClone(receipt);
    change(changed);
    const found = [];
    for await (const [, holds] of checkReceipt(changed, heads)) found.push(holds);
    results.push(found.indexOf(false));
  }
  return results;
}"""


async def test_from_the_request_id_to_a_verified_receipt(site: Site, open_page: OpenPage, axe: str, tmp_path: Path) -> None:
    member = site.member()
    assert member.account is not None
    _, secret = factories.api_key(member.account)
    id = chat(site.edge(), secret).headers["x-request-id"]
    page = await open_page()
    await member.copy_session_to(page)
    await page.goto(f"{site.edge().url}/calls/{id}")
    await expect(page.locator("#proof")).to_contain_text("pending, within a day")
    await page.click("text=Check in this browser")
    await expect(page.locator("#proof [role=status]")).to_have_text("This receipt is valid.")
    assert await page.locator("#proof li").count() == 2
    head = seal_ledger(now_ms(), "0123456789abcdef" * 2, site.edge().url)["head"]
    await page.reload()
    await expect(page.locator("#proof")).to_contain_text(f"number {head['number']}")
    await page.click("text=Check in this browser")
    await expect(page.locator("#proof li")).to_have_count(5)
    assert "✗" not in await page.inner_text("#proof ul")
    await check_page(page, axe, "receipt-proof")
    assert await page.evaluate(CHANGED) == [0, 1, 2, 3]

    async with page.expect_download() as download:
        await page.click("text=Download receipt")
    await (await download.value).save_as(tmp_path / "receipt.json")
    published = member.get("/.well-known/yout-ledger-heads.json")
    (tmp_path / "heads.json").write_bytes(published.body)
    offline = Installation(tmp_path)
    verified = offline.yout("receipt", "verify", "receipt.json", "--heads", "heads.json", "--json")
    assert (verified.code, verified.data["valid"], verified.data["sealed"]) == (0, True, True), verified
    changed = json.loads((tmp_path / "receipt.json").read_text())
    changed["tokens"]["output"] += 1
    (tmp_path / "changed.json").write_text(json.dumps(changed))
    refused = offline.yout("receipt", "verify", "changed.json")
    assert (refused.code, refused.out.splitlines()[-1]) == (1, "The receipt is NOT VALID.")
    no_heads = offline.yout("receipt", "verify", "receipt.json", "--heads", "receipt.json", "--json")
    assert (no_heads.code, no_heads.data["error"]["code"]) == (2, "invalid_input")
