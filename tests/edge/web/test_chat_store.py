"""The chat's store in a real IndexedDB: two tabs agree, nothing deleted comes back, and a full storage is reported."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, Route

from tests.conftest import OpenPage
from tests.servers.process import ROOT

ORIGIN = "http://localhost"  # a secure context; every request to it is answered from the folder of static files
STATIC = ROOT / "edge" / "web" / "static"
OPEN = "async () => { window.store = await (await import('/chat/store.js')).openStore(); }"
CONVERSATION = """(id, title) => ({id, title, created_at: 1, updated_at: 1, pinned: false, folder: "", model: "m-1", system: "",
  parameters: {}, leaf: null})"""
SETUP = f"""() => {{
  window.conversation = {CONVERSATION};
  window.message = (id, conversation, text) =>
    ({{id, conversation, parent: null, role: "user", text, status: "complete", created_at: 1}});
  window.changes = [];
  store.onChange((change) => changes.push(`${{change.kind}} ${{change.remote}}`));
}}"""


async def serve(route: Route) -> None:
    path = route.request.url.removeprefix(ORIGIN + "/")
    if path:
        await route.fulfill(path=STATIC / path)
    else:
        await route.fulfill(body="<!doctype html><title>Store</title>", content_type="text/html")


async def open_tab(page: Page) -> Page:
    await page.goto(ORIGIN + "/")
    await page.evaluate(OPEN)
    await page.evaluate(SETUP)
    return page


@pytest.fixture
async def tab(open_page: OpenPage) -> Page:
    page = await open_page()
    await page.context.route(ORIGIN + "/**", serve)
    return await open_tab(page)


async def test_two_tabs_share_one_store(tab: Page) -> None:
    await tab.evaluate(
        """async () => {
          await store.saveConversation(conversation("c-1", "Zürich by train"));
          await store.saveConversation({...conversation("c-2", "Soup"), updated_at: 2});
          await store.saveMessage({...message("m-1", "c-1", "Which train leaves at noon?"),
            attachments: [{name: "a.txt", type: "text/plain", bytes: new Blob(["ticket"])}]});
          await store.saveMessage(message("m-2", "c-2", "How long do lentils take?"));
          await store.saveDraft("c-1", {text: "And back", attachments: []});
          await store.saveSetting("threshold", 5);
        }"""
    )
    other = await open_tab(await tab.context.new_page())
    read = """async () => ({
      titles: (await store.conversations()).map((row) => row.title),
      file: await (await store.messages("c-1"))[0].attachments[0].bytes.text(),
      draft: (await store.draft("c-1")).text,
      threshold: await store.setting("threshold"),
      found: (await store.search("zurich NOON")).map((row) => [row.conversation.id, row.excerpt]),
      none: await store.search("noon lentils"),
    })"""
    expected = {
        "titles": ["Soup", "Zürich by train"],
        "file": "ticket",
        "draft": "And back",
        "threshold": 5,
        "found": [["c-1", "Which train leaves at noon?"]],
        "none": [],
    }
    assert await other.evaluate(read) == await tab.evaluate(read) == expected

    # Two tabs change different fields of one conversation.
    await other.evaluate('store.updateConversation("c-1", {title: "Zurich"})')
    await tab.evaluate('store.updateConversation("c-1", {pinned: true})')
    row = await other.evaluate('store.conversation("c-1")')
    assert (row["title"], row["pinned"]) == ("Zurich", True)
    await tab.wait_for_function('changes.includes("conversation true")')

    # What one tab deletes, a late save of another does not bring back.
    await other.evaluate('store.deleteConversation("c-1")')
    await tab.wait_for_function('changes.includes("deleted true")')
    await tab.evaluate('store.saveConversation(conversation("c-1", "late"))')
    await tab.evaluate('store.saveMessage(message("m-3", "c-1", "late"))')
    left = """async () => [await store.conversation("c-1"), await store.messages("c-1"), await store.draft("c-1")]"""
    assert await other.evaluate(left) == [None, [], None]

    # A wipe empties the store for all tabs.
    await tab.evaluate("store.wipe()")
    await other.wait_for_function('changes.includes("wiped true")')
    await other.evaluate('store.saveMessage(message("m-4", "c-2", "late"))')
    empty = 'async () => [await store.conversations(), await store.messages("c-2"), await store.setting("threshold", null)]'
    assert await other.evaluate(empty) == await tab.evaluate(empty) == [[], [], None]


async def test_records_that_do_not_fit_on_disk_stay_in_memory(tab: Page) -> None:
    quota = await tab.context.new_cdp_session(tab)
    await quota.send("Storage.overrideQuotaForOrigin", {"origin": ORIGIN, "quotaSize": 200_000})  # before Chromium caches it
    await tab.evaluate('store.saveConversation(conversation("c-1", "First"))')
    large = """async () => {
      window.statuses = [];
      store.onStatus((status) => statuses.push(status));
      const bytes = crypto.getRandomValues(new Uint8Array(60_000));
      const text = Array.from({length: 20}, () => btoa(String.fromCharCode(...bytes))).join("");
      await Promise.all([store.saveMessage(message("big", "c-1", text)), store.saveMessage(message("small", "c-1", "small"))]);
      return [store.status, (await store.messages("c-1")).map((row) => row.id).sort()];
    }"""
    status, shown = await tab.evaluate(large)
    assert status == {"problem": "full", "unsaved": 1}
    assert shown == ["big", "small"]
    other = await open_tab(await tab.context.new_page())
    assert await other.evaluate('store.messages("c-1").then((rows) => rows.map((row) => row.id))') == ["small"]

    await quota.send("Storage.overrideQuotaForOrigin", {"origin": ORIGIN})  # there is space again
    await tab.evaluate('store.saveSetting("any", 1)')
    assert await tab.evaluate("[store.status, statuses.at(-1)]") == [{"problem": None, "unsaved": 0}] * 2
    assert await other.evaluate('store.messages("c-1").then((rows) => rows.length)') == 2
