"""The conversations of the chat in a real browser: the list, import and export, files, sharing, sync, and deleting everything."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from shared.models import Conversation, MediaJob, Plan, Subscription
from tests import factories
from tests.conftest import OpenPage
from tests.edge.web.conftest import Site
from tests.edge.web.test_chat_app import VISITORS, answer, choose_model, last_answer, open_chat, send
from tests.page_checks import check_page
from tests.servers.browser import PHONE
from tests.servers.process import Process, eventually
from tests.upstream_responses import WAIT_SECONDS, json_response

pytestmark = pytest.mark.parametrize("running_site", ["sqlite"], indirect=True)
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
    "0000000d49444154789c6360f8cf50000004000101a2c4a1e40000000049454e44ae426082"
)


# A tenth of a second of silence as WAV, and a microphone that records silence.
TONE = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 1636, b"WAVE", b"fmt ", 16, 1, 1, 8000, 16000, 2, 16, b"data", 1600) + bytes(
    1600
)
MICROPHONE = """navigator.mediaDevices.getUserMedia = async () => {
  const context = new AudioContext();
  return context.createMediaStreamDestination().stream;
};"""
LEFT_BEHIND = """async () => {
  const opening = indexedDB.open("yout-chat");
  const database = await new Promise((resolve) => { opening.onsuccess = () => resolve(opening.result); });
  const tables = [...database.objectStoreNames];
  const count = (table) => new Promise((resolve) => {
    const counting = database.transaction(table).objectStore(table).count();
    counting.onsuccess = () => resolve([table, counting.result]);
  });
  return {...Object.fromEntries(await Promise.all(tables.map(count))), local: localStorage.length};
}"""


async def ready(page: Page) -> Page:
    await expect(page.locator("#chat[data-complete]")).to_be_visible()
    return page


def row(page: Page, title: str) -> Any:
    return page.locator(".side-row", has=page.locator(".side-title", has_text=title))


async def choose(page: Page, title: str, action: str) -> None:
    """Choose an action from the menu of a conversation."""
    await row(page, title).locator(".side-more").click()
    await page.get_by_role("menuitem", name=action).click()


async def downloaded(page: Page, act: Awaitable[None]) -> str:
    """The text of the file that an action downloads."""
    async with page.expect_download() as started:
        await act
    file = await (await started.value).path()
    return await asyncio.to_thread(file.read_text)


async def test_the_list(site: Site, open_page: OpenPage, axe: str, tmp_path: Path) -> None:
    member = site.member()
    page = await ready(await open_chat(open_page, site, member))
    site.upstream.script(answer("Take the **8:02** train."), answer("Forty minutes."))
    await send(page, "Zürich by train")
    await expect(last_answer(page).locator(".cost")).to_be_visible()
    await page.click("#new-chat")
    await send(page, "Lentils")
    await expect(last_answer(page).locator(".cost")).to_be_visible()
    await expect(page.locator(".side-title")).to_have_text(["Lentils", "Zürich by train"])
    await choose(page, "Zürich by train", "Rename")
    await page.fill("#dialog-text", "Trip")
    await page.keyboard.press("Enter")
    await choose(page, "Trip", "Pin")
    await expect(page.locator(".side-group h2")).to_have_text(["Pinned", "Today"])
    await choose(page, "Lentils", "Move to a folder")
    await page.fill("#dialog-text", "Kitchen")
    await page.get_by_role("button", name="Move", exact=True).click()
    await expect(page.locator(".side-folder summary")).to_contain_text("Kitchen")
    await check_page(page, axe, "chat-sidebar")
    # Search in titles and messages, without the network.
    await page.context.set_offline(True)
    await page.fill(".side-search", "zürich")
    await expect(page.locator(".side-title")).to_have_text(["Trip"])
    await expect(page.locator(".side-excerpt")).to_have_text(["Zürich by train"])
    await page.context.set_offline(False)
    await page.press(".side-search", "ArrowDown")
    await page.keyboard.press("Enter")
    await expect(page.locator(".bubble")).to_have_text("Zürich by train")
    await expect(page.locator(".side-link[aria-current]")).to_contain_text("Trip")
    await page.fill(".side-search", "")

    # Export one as Markdown and all as JSON, delete one, and import it again.
    text = await downloaded(page, choose(page, "Trip", "Export as Markdown"))
    assert text == "# Trip\n\n## User\n\nZürich by train\n\n## Assistant · free\n\nTake the **8:02** train.\n"
    everything = await downloaded(page, page.click("text=Export all"))
    assert [one["folder"] or "" for one in json.loads(everything)["conversations"]] == ["Kitchen", ""]
    await choose(page, "Trip", "Delete")
    await page.click("text=Delete conversation")
    await expect(page.locator(".side-title")).to_have_text(["Lentils"])
    await expect(page.locator(".bubble")).to_have_count(0)
    file = tmp_path / "conversations.json"
    file.write_text(everything)
    async with page.expect_file_chooser() as chooser:
        await page.click("text=Import")
    await (await chooser.value).set_files(file)
    await expect(page.locator("#notice")).to_have_text("1 conversation imported. 1 conversation was already here.")
    await expect(page.locator(".side-title")).to_have_text(["Trip", "Lentils"])

    # On a phone the list is a drawer that Escape closes.
    await page.set_viewport_size(PHONE)
    await expect(page.locator("#sidebar")).to_be_hidden()
    await page.click(".side-toggle")
    await expect(page.locator(".side-search")).to_be_focused()
    await check_page(page, axe, "chat-drawer")
    await page.keyboard.press("Escape")
    await expect(page.locator("#sidebar")).to_be_hidden()
    await expect(page.locator(".side-toggle")).to_be_focused()
    await page.click(".side-toggle")
    await row(page, "Trip").locator(".side-link").click()
    await expect(page.locator("#sidebar")).to_be_hidden()
    await expect(page.locator(".said")).to_have_text("Take the 8:02 train.")

    # If the browser saves nothing, a notice says so, and the chat still works.
    private = await open_page()
    await private.add_init_script("Object.defineProperty(window, 'indexedDB', {value: undefined})")
    await member.copy_session_to(private)
    await private.goto(site.edge().url)
    await ready(private)
    await expect(private.locator(".side-notice")).to_contain_text("Your conversations are lost when you close this tab.")
    await send(private, "Lost")
    await expect(private.locator(".side-title")).to_have_text(["Lost"])
    await check_page(private, axe, "chat-unsaved")


async def test_files_and_sharing(site: Site, open_page: OpenPage, axe: str, tmp_path: Path) -> None:
    member = site.member()
    assert member.account is not None
    seeing = f"seeing-{member.account.id.hex[:8]}"
    factories.model(seeing, factories.channel(site.upstream.url), input=1_000, output=2_000, capabilities=["vision"])
    eventually(lambda: seeing in member.api("GET", "/api/chat/models/").body.decode(), "the edge knows the model")
    page = await ready(await open_chat(open_page, site, member))
    names = {"dot.png": PNG, "notes.md": b"# Notes\n\nBuy soup.", "song.mp3": b"ID3\x00", "none.txt": b""}
    for name, content in names.items():
        (tmp_path / name).write_bytes(content)

    async def attach(*chosen: str) -> None:
        async with page.expect_file_chooser() as chooser:
            await page.click("text=Attach")
        await (await chooser.value).set_files([tmp_path / name for name in chosen])

    # What a model does not take is refused before it is sent.
    await choose_model(page, "m-1")
    await attach(*names)
    problem = page.locator(".attachment-problem")
    for words in ("m-1 does not accept images", "song.mp3 cannot be attached", "none.txt is empty"):
        await expect(problem).to_contain_text(words)
    await expect(page.locator(".attachment-name")).to_have_text(["notes.md"])
    await choose_model(page, seeing)
    await page.evaluate(
        """(bytes) => {
          const data = new DataTransfer();
          data.items.add(new File([Uint8Array.from(bytes)], "dot.png", {type: "image/png"}));
          const drop = new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true});
          document.getElementById("main").dispatchEvent(drop);
        }""",
        list(PNG),
    )
    await expect(page.locator(".attachment-name")).to_have_text(["notes.md", "dot.png"])
    await expect(problem).to_be_hidden()
    await check_page(page, axe, "chat-attachments")

    # Drafts keep their files over a reload; sent, they are the API's content parts.
    await page.fill("#prompt", "See")
    await page.reload()
    await ready(page)
    await expect(page.locator(".attachment-name")).to_have_text(["notes.md", "dot.png"])
    await choose_model(page, seeing)
    site.upstream.script(answer("A **dot**."))
    await page.press("#prompt", "Enter")
    await expect(last_answer(page).locator(".cost")).to_be_visible()
    text, image, said = site.upstream.calls[-1].json["messages"][0]["content"]
    assert text == {"type": "text", "text": "notes.md:\n\n# Notes\n\nBuy soup."}
    assert image["image_url"]["url"].startswith("data:image/png;base64,iVBOR")
    assert said == {"type": "text", "text": "See"}
    await expect(page.locator(".attachment")).to_have_count(0)
    await expect(page.locator(".files img")).to_have_attribute("alt", "dot.png")

    # Share with a title and a preview, and continue it as another reader.
    await page.click("#conversation-tools >> text=Share")
    await expect(page.locator(".share-preview strong")).to_have_text("dot")
    await page.fill("#share-title", "What is it?")
    await check_page(page, axe, "chat-share")
    await page.click("text=Create link")
    await page.click("text=Copy link")
    url = await page.evaluate("navigator.clipboard.readText()")
    assert await page.input_value("#share-url") == url
    await check_page(page, axe, "chat-shared")
    reader = await open_page()
    await reader.goto(url.replace(str(site.edge().port), str(site.edge(**VISITORS).port)))
    await expect(reader.locator("h1")).to_have_text("What is it?")
    await check_page(reader, axe, "share-page")
    await reader.click("text=Continue this conversation")
    await ready(reader)
    await expect(reader.locator(".said strong")).to_have_text("dot")
    site.upstream.script(answer("Black."))
    await send(reader, "Which color?")
    await expect(last_answer(reader).locator(".said")).to_have_text("Black.")
    assert [one["content"] for one in site.upstream.calls[-1].json["messages"]] == ["See", "A **dot**.", "Which color?"]
    await page.get_by_role("button", name="Revoke").click()
    await expect(page.locator(".dialog [role=status]")).to_contain_text("Revoked.")
    assert member.get(url[url.index("/c/") :]).status == 404

    # A visitor has nothing on the server to delete.
    await reader.click("text=Delete everything")
    await expect(reader.locator(".delete-parts li")).to_have_count(1)
    await reader.fill("#delete-confirm", "delete")
    await reader.keyboard.press("Enter")
    await expect(reader.locator(".dialog [role=status]")).to_have_text("Everything in this browser was deleted.")
    await reader.click(".dialog >> text=Close")
    await expect(reader.locator(".side-title")).to_have_count(0)
    await expect(reader.locator(".bubble")).to_have_count(0)


async def test_voice_sync_and_deleting_everything(
    site: Site, open_page: OpenPage, axe: str, start_worker: Callable[..., Process]
) -> None:
    member = site.member()
    assert member.account is not None
    start_worker(**site.settings)
    suffix, channel = member.account.id.hex[:8], factories.channel(site.upstream.url)
    factories.model(f"scribe-{suffix}", channel, kind="transcription", input=0, output=0, per_call=11)
    factories.model(f"voices-{suffix}", channel, kind="speech", per_1k_characters=15_000)
    eventually(lambda: f"voices-{suffix}" in member.api("GET", "/api/chat/models/").body.decode(), "the edge knows the models")
    Subscription.create(account=member.account, plan=Plan.create(name=f"Plan of {member.account}", stores_content=True))
    mine = Conversation.select().where(Conversation.account == member.account)
    first = await open_page()
    await first.add_init_script(MICROPHONE)
    await member.copy_session_to(first)
    await first.goto(site.edge().url)
    await ready(first)

    # A recording becomes text in the message field, and an answer is read aloud. Both say what they cost.
    await first.fill("#prompt", "Oh,")
    await first.click("text=Dictate")
    await expect(first.get_by_role("button", name="Stop dictation")).to_have_attribute("aria-pressed", "true")
    site.upstream.script(json_response({"text": "Hi"}))
    await first.get_by_role("button", name="Stop dictation").click()
    await expect(first.locator("#prompt")).to_have_value("Oh, Hi")
    await expect(first.locator("#notice")).to_have_text("Transcribed for 11 credits.")
    assert b'filename="audio.webm"' in site.upstream.calls[-1].body
    await first.fill("#prompt", "Hi")
    site.upstream.script(answer("**Hello.**"))
    await first.press("#prompt", "Enter")
    await expect(last_answer(first).locator(".cost")).to_be_visible()
    site.upstream.script(json_response(TONE, headers={"content-type": "audio/wav"}))
    await last_answer(first).get_by_role("button", name="Read aloud").click()
    await expect(first.locator("#notice")).to_have_text("Read aloud for 90 credits.", timeout=WAIT_SECONDS * 1000)
    assert site.upstream.calls[-1].json["input"] == "Hello."
    await expect(last_answer(first).get_by_role("button", name="Read aloud")).to_be_visible()
    site.upstream.script(answer("**Hello again.**"))
    await last_answer(first).get_by_role("button", name="Retry", exact=True).click()
    await expect(last_answer(first).locator(".said")).to_have_text("Hello again.")
    await expect(last_answer(first).locator(".cost")).to_be_visible()
    assert not MediaJob.select().where(MediaJob.account == member.account).exists()
    assert mine.count() == 0, "nothing is on the server until sync is switched on"

    async def switch_on(page: Page) -> None:
        await page.get_by_role("button", name="Sync", exact=True).click()
        await page.click("text=Turn on sync")
        await expect(page.locator(".dialog [role=status]")).to_contain_text("Last synced")

    async def synchronize(page: Page) -> None:
        await page.evaluate("dispatchEvent(new Event('online'))")

    # Another device of the account gets the conversation, continues it, and the first one shows that.
    await switch_on(first)
    await check_page(first, axe, "chat-sync")
    await first.click(".dialog >> text=Close")
    await expect(first.locator(".side-footer")).to_contain_text("Sync is on")
    assert [row.title for row in mine] == ["Hi"]
    second = await ready(await open_chat(open_page, site, member))
    await expect(second.locator(".side-title")).to_have_count(0)
    await switch_on(second)
    await second.click(".dialog >> text=Close")
    await row(second, "Hi").locator(".side-link").click()
    await expect(second.locator(".said")).to_have_text("Hello again.")
    await second.get_by_role("button", name="Previous version").click()  # all branches are copied
    await expect(second.locator(".said")).to_have_text("Hello.")
    site.upstream.script(answer("I am well."))
    await send(second, "How are you?")
    await expect(last_answer(second).locator(".cost")).to_be_visible()
    await synchronize(second)
    eventually(lambda: mine.get().message_count == 5, "the second device has stored its messages")
    await synchronize(first)
    await expect(first.locator(".said")).to_have_text(["Hello.", "I am well."])

    # Both write at the same time: neither message is lost, they are branches.
    for page, text in ((first, "Mine"), (second, "Yours")):
        site.upstream.script(answer(f"{text}, too."))
        await send(page, text)
        await expect(last_answer(page).locator(".cost")).to_be_visible()
    for page in (first, second):
        async with asyncio.timeout(WAIT_SECONDS):
            while not await page.locator(".mine").last.locator(".walker-position", has_text="/2").count():
                await synchronize(first)
                await synchronize(second)
                await asyncio.sleep(0.1)
    first.problems.clear()  # type: ignore[attr-defined]  # the slower one gets a 409

    # Deleted on one device, it is deleted on the server, and stays on the other one.
    await choose(second, "Hi", "Delete")
    await expect(second.locator("dialog[open]")).to_contain_text("Its copy on the server is deleted, too.")
    await second.click("text=Delete conversation")
    eventually(lambda: mine.count() == 0, "the copy is deleted")
    await synchronize(first)
    await expect(first.locator(".side-title")).to_have_text(["Hi"])

    # Everything is deleted: the browser at once, the server when it can be reached, with a certificate.
    await first.fill("#prompt", "not sent")
    await first.click("text=Delete everything")
    await check_page(first, axe, "chat-delete")
    await first.fill("#delete-confirm", "delete")
    await first.route("**/api/chat/purge/", lambda route: route.abort())
    await first.locator(".dialog").get_by_role("button", name="Delete everything").click()
    await expect(first.locator(".dialog [role=status]")).to_contain_text("the server did not start to delete")
    await expect(first.locator(".side-title")).to_have_count(0)
    first.problems.clear()  # type: ignore[attr-defined]
    await first.unroute("**/api/chat/purge/")
    await first.click("text=Try again")
    await expect(first.locator(".dialog h2")).to_have_text("Deleted", timeout=20_000)
    await check_page(first, axe, "chat-deleted")
    certificate = json.loads(await downloaded(first, first.click("text=Download certificate")))
    assert certificate["certificate"]["account"] == str(member.account)
    await first.click(".dialog >> text=Close")
    await expect(first.locator("#prompt")).to_have_value("")
    assert await first.evaluate(LEFT_BEHIND) == {"conversations": 0, "messages": 0, "drafts": 0, "settings": 0, "local": 0}
