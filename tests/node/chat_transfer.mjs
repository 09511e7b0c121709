// Imports and exports of the chat, and the store without IndexedDB.
// Run by tests/edge/web/test_chat_modules.py with the folder of modules.
import assert from "node:assert/strict";
import { deflateRawSync } from "node:zlib";

const folder = process.env.CHAT_MODULES;
const transfer = await import(`${folder}/transfer_formats.js`);
const { excerpt, fold, openStore } = await import(`${folder}/store.js`);

const node = (id, parent, role, content, more = {}) => ({
  id,
  parent,
  children: [],
  message: role && { author: { role }, content, create_time: 1_700_000_000.5, recipient: "all", metadata: {}, ...more },
});
const text = (...parts) => ({ content_type: "text", parts });
const CHAT = {
  title: "  Trains\nand soup ",
  create_time: 1_700_000_000.25,
  update_time: 1_700_000_100,
  conversation_id: "6740A3C0-1111-4222-8333-444455556666",
  current_node: "b2",
  mapping: Object.fromEntries(
    [
      node("root", null, null),
      node("sys", "root", "system", text("")),
      node("hidden", "sys", "user", text("About me"), { metadata: { is_visually_hidden_from_conversation: true } }),
      node("q", "hidden", "user", { content_type: "multimodal_text", parts: [{ content_type: "image_asset_pointer" }, "What is this?"] }),
      node("a1", "q", "assistant", text("A train."), { metadata: { model_slug: "gpt-4o" } }),
      node("t", "q", "assistant", { content_type: "thoughts", thoughts: [{ content: "Red, so soup." }] }),
      node("call", "t", "assistant", { content_type: "code", text: "look()" }, { recipient: "python" }),
      node("tool", "call", "tool", text("output")),
      node("a2", "tool", "assistant", text("Soup."), { create_time: null }),
      node("b1", "a1", "user", text("Sure?")),
      node("b2", "a2", "user", text("Really?")),
      { id: "loop", parent: "loop2" },
      { id: "loop2", parent: "loop" },
    ].map((row) => [row.id, row]),
  ),
};

// ChatGPT's tree: branches stay, hidden and tool messages go, reasoning belongs to the answer below it.
const [{ conversation, messages }] = transfer.parseExport(`\uFEFF${JSON.stringify([CHAT])}`);
const byText = new Map(messages.map((message) => [message.text, message]));
const question = byText.get("[image]\n\nWhat is this?");
assert.equal(conversation.id, "6740a3c0-1111-4222-8333-444455556666");
assert.equal(conversation.title, "Trains and soup");
assert.equal(conversation.created_at, 1_700_000_000_250);
assert.deepEqual(messages.map((message) => message.text), ["[image]\n\nWhat is this?", "A train.", "Sure?", "Soup.", "Really?"]);
assert.equal(question.parent, null);
assert.equal(byText.get("A train.").model, "gpt-4o");
assert.deepEqual([byText.get("Soup.").parent, byText.get("Soup.").reasoning], [question.id, "Red, so soup."]);
assert.ok(byText.get("Soup.").created_at > question.created_at);
assert.equal(conversation.leaf, byText.get("Really?").id);
assert.equal(new Set(messages.map((message) => message.id)).size, 5);

// Files that cannot be read have an error code; an empty export has none.
const codeOf = (work) => {
  try {
    work();
  } catch (error) {
    return error.code;
  }
  return null;
};
for (const [content, code] of [["<html>", "not_json"], ['{"a": 1}', "unknown_format"], ['[{"a": 1}]', "unknown_format"], ["[]", null], ["[null]", "unknown_format"]]) {
  assert.equal(codeOf(() => transfer.parseExport(content)), code, content);
}

// ZIP files, deflated and stored.
function zip(entries) {
  const parts = [];
  const directory = [];
  let offset = 0;
  for (const [name, content, deflate] of entries) {
    const data = deflate ? deflateRawSync(Buffer.from(content)) : Buffer.from(content);
    const local = Buffer.alloc(30);
    local.writeUInt32LE(0x04034b50, 0);
    local.writeUInt16LE(name.length, 26);
    const central = Buffer.alloc(46);
    central.writeUInt32LE(0x02014b50, 0);
    central.writeUInt16LE(deflate ? 8 : 0, 10);
    central.writeUInt32LE(data.length, 20);
    central.writeUInt16LE(name.length, 28);
    central.writeUInt32LE(offset, 42);
    parts.push(local, Buffer.from(name), data);
    directory.push(central, Buffer.from(name));
    offset += 30 + name.length + data.length;
  }
  const size = directory.reduce((sum, part) => sum + part.length, 0);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt32LE(size, 12);
  end.writeUInt32LE(offset, 16);
  return new Blob([...parts, ...directory, end]);
}
const other = { ...CHAT, conversation_id: "other" };
const archive = zip([
  ["chat.html", "<html>", true],
  ["conversations-000.json", JSON.stringify([CHAT]), true],
  ["conversations-001.json", JSON.stringify([other]), false],
]);
assert.equal((await transfer.readExport(archive)).length, 2);
await assert.rejects(transfer.readExport(zip([["chat.html", "<html>", true]])), { code: "empty_zip" });
await assert.rejects(transfer.readExport(new Blob(["PK\u0003\u0004"])), { code: "empty_zip" });

const damaged = Buffer.from(await zip([["conversations.json", JSON.stringify([CHAT]), true]]).arrayBuffer()).fill(255, 50, 120);
await assert.rejects(transfer.readExport(new Blob([damaged])), { code: "empty_zip" });

// Times that cannot be shown are replaced.
const late = transfer.parseExport(JSON.stringify([{ ...CHAT, create_time: 1e300, update_time: -1 }]))[0].conversation;
const own = { format: transfer.FORMAT, conversations: [{ created_at: 1e300, updated_at: 9e15, messages: [{ role: "user", text: "Hi", created_at: -1 }] }] };
const { conversation: shown, messages: [dated] } = transfer.parseExport(JSON.stringify(own))[0];
for (const at of [late.created_at, late.updated_at, shown.created_at, shown.updated_at, dated.created_at]) assert.ok(Math.abs(at - Date.now()) < 60_000, String(at));

// Our own JSON comes back as it was, with new message ids; wrong types are left out.
const bytes = Uint8Array.from({ length: 70_000 }, (_, index) => index % 256);
const soup = { ...byText.get("Soup."), credits: 12, group: "g", attachments: [{ name: "a.bin", type: "image/png", bytes: new Blob([bytes]) }] };
const kept = messages.map((message) => (message.id === soup.id ? soup : message));
const exported = await transfer.writeJson([{ conversation: { ...conversation, pinned: true, folder: "Trips", remote: { id: "x" } }, messages: kept }]);
const [again] = await transfer.readExport(exported);
const returned = again.messages.find((message) => message.text === "Soup.");
assert.deepEqual([again.conversation.pinned, again.conversation.folder, again.conversation.remote], [true, "Trips", undefined]);
assert.equal(again.conversation.leaf, again.messages.find((message) => message.text === "Really?").id);
assert.notEqual(returned.id, soup.id);
assert.deepEqual([returned.credits, returned.reasoning, returned.parent], [12, "Red, so soup.", again.messages[0].id]);
assert.deepEqual(new Uint8Array(await returned.attachments[0].bytes.arrayBuffer()), bytes);
const odd = { format: transfer.FORMAT, conversations: [{ id: 7, title: 8, pinned: "yes", messages: [{ role: "system", text: "x" }, { role: "user", text: "Hi", credits: "9" }] }] };
const [cleaned] = transfer.parseExport(JSON.stringify(odd));
assert.deepEqual([cleaned.conversation.title, cleaned.conversation.pinned, cleaned.messages.length, cleaned.messages[0].credits], ["", false, 1, undefined]);
const charged = (credits) => transfer.parseExport(JSON.stringify({ ...odd, conversations: [{ messages: [{ role: "user", text: "Hi", credits }] }] }))[0].messages[0].credits;
assert.deepEqual([0, 7, -1, 0.5, 1e21].map(charged), [0, 7, undefined, undefined, undefined]);

// Markdown of the branch that is shown.
const labels = { user: "User", assistant: "Assistant", reasoning: "Reasoning", attachment: "Attachment", untitled: "Conversation" };
assert.equal(
  transfer.writeMarkdown(conversation, transfer.shownPath(conversation, kept), labels),
  "# Trains and soup\n\n## User\n\n[image]\n\nWhat is this?\n\n## Assistant\n\nReasoning:\n\n> Red, so soup.\n\nAttachment: a.bin\n\nSoup.\n\n## User\n\nReally?\n",
);
assert.equal(transfer.fileName("../Zürich: 10:30?", "md"), "Zürich-1030.md");
assert.equal(transfer.fileName("…", "md"), "conversation.md");

// Searching: without case and accents, with the text around the first match.
assert.equal(fold("ÉCOLE"), "ecole");
assert.equal(excerpt(`${"a ".repeat(50)}the École ${"b ".repeat(100)}`, ["ecole"]), `…${"a ".repeat(13)}the École ${"b ".repeat(42).trim()}…`);
assert.equal(excerpt("nothing", ["ecole"]), "");

// Without IndexedDB the store works in memory, and says so.
const store = await openStore({ indexedDB: null });
await store.importConversation(again.conversation, again.messages);
await store.updateConversation(again.conversation.id, { title: "Second" });
assert.deepEqual(store.status, { problem: "unavailable", unsaved: 6 });
assert.deepEqual((await store.search("soup second")).map((found) => [found.conversation.title, found.excerpt]), [["Second", "Soup."]]);
assert.deepEqual(await store.search("absent"), []);
await store.deleteConversation(again.conversation.id);
assert.deepEqual([await store.conversations(), await store.messages(again.conversation.id)], [[], []]);
await store.close();

// A browser that forbids storage may throw as soon as it is looked up.
const throws = () => { throw new DOMException("forbidden", "SecurityError"); };
Object.defineProperty(globalThis, "indexedDB", { get: throws });
globalThis.BroadcastChannel = class { constructor() { throws(); } };
const forbidden = await openStore();
await forbidden.saveSetting("a", 1);
assert.deepEqual([forbidden.status.problem, await forbidden.setting("a")], ["unavailable", 1]);
await forbidden.close();
console.log("ok");
