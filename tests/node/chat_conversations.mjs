// Rules of the chat's conversations: attached files, the copy on the server, spoken text, and the groups of the list. Run by
// tests/edge/web/test_chat_modules.py with the folder of modules.
import assert from "node:assert/strict";

// What the modules look up when they are loaded.
globalThis.document = { documentElement: { lang: "en", dataset: {} }, querySelector: () => null, querySelectorAll: () => [], addEventListener() {} };
globalThis.matchMedia = () => ({ matches: false, addEventListener() {} });
const folder = process.env.CHAT_MODULES;
const rules = await import(`${folder}/attachment_rules.js`);
const branch = await import(`${folder}/sync_branch.js`);
const { speechCost, spokenText, voiceModel } = await import(`${folder}/voice.js`);
const { grouped } = await import(`${folder}/sidebar.js`);

// Which files can be attached: by type, by content, by model, by size.
const file = (type, bytes) => new File([Uint8Array.from(bytes)], "name", { type });
for (const [type, bytes, kind] of [
  ["image/png", [1], "image"],
  ["image/svg+xml", [60], "text"],
  ["image/tiff", [1], null],
  ["application/pdf", [1], "pdf"],
  ["audio/mpeg", [73], null],
  ["", [0xc3, 0xbc], "text"],
  ["", [0xff, 0xfe], null],
  ["application/octet-stream", [104, 0], null],
  ["application/json", [123, 125], "text"],
]) {
  assert.equal(await rules.kindOf(file(type, bytes)), kind, type || String(bytes));
}
const budget = rules.binaryBudget(20_000_000);
assert.equal(budget, 13_500_000);
const [vision, text] = [{ tags: ["vision"], input_modalities: ["text", "image"] }, { tags: [], input_modalities: ["text"] }];
const sized = (size) => ({ size });
for (const [size, kind, present, model, code] of [
  [10, null, [], vision, "type"],
  [0, "text", [], text, "empty"],
  [10, "image", [], text, "image"],
  [10, "pdf", [], vision, "pdf"],
  [10, "pdf", [], { input_modalities: ["file"] }, undefined],
  [10, "image", [], vision, undefined],
  [rules.MAX_TEXT_BYTES + 1, "text", [], text, "text_size"],
  [budget + 1, "image", [], vision, "size"],
  [budget, "image", [], vision, undefined],
  [budget, "image", [{ kind: "image", size: 1 }], vision, "total"],
  [budget, "image", [{ kind: "text", size: 1 }], vision, undefined],
  [1, "text", Array(rules.MAX_FILES).fill({ kind: "text", size: 1 }), text, "count"],
]) {
  assert.equal(rules.refusal(sized(size), kind, present, { budget, model })?.code, code);
}

// The copy on the server: all branches, and back without loss.
const message = (id, parent, role, text, more = {}) => ({ id, parent, conversation: "c", role, text, status: "complete", created_at: Number(id), ...more });
const image = { name: "a.png", type: "image/png", bytes: new Blob([Uint8Array.of(1, 2)], { type: "image/png" }) };
const paper = { name: "b.pdf", type: "application/pdf", bytes: new Blob(["pdf"], { type: "application/pdf" }) };
const messages = [
  message("1", null, "user", "See", { attachments: [image, paper] }),
  message("2", "1", "assistant", "A dot.", { model: "m-1" }),
  message("3", "1", "assistant", "A line", { model: "m-2", status: "stopped" }),
  message("4", "3", "user", "Sure?"),
  message("5", "4", "assistant", "", { status: "failed" }),
];
const conversation = { id: "c", title: "A\ndot\u200b", system: " Be brief. ", leaf: "5" };
const form = await branch.storedForm(conversation, messages);
assert.equal(form.title, "A dot");
assert.deepEqual(form.messages.map(({ role, status, model, parent }) => [role, status, model, parent]), [
  ["system", "complete", null, undefined],
  ["user", "complete", null, undefined],
  ["assistant", "complete", "m-1", 1],
  ["assistant", "partial", "m-2", undefined],
  ["user", "complete", null, undefined],
]);
const onlyShown = await branch.storedForm(conversation, messages, { branches: false });
assert.deepEqual(onlyShown.messages.map(({ content }) => typeof content === "string" ? content : "parts"), ["Be brief.", "parts", "A line", "Sure?"]);
assert.deepEqual(form.messages[1].content.map((part) => part.type), ["image_url", "file", "text"]);
const small = await branch.storedForm(conversation, messages, { files: false });
assert.deepEqual(small.messages[1].content.map((part) => part.text), ["[a.png]", "[b.pdf]", "See"]);
assert.equal(await branch.storedForm(conversation, [{ ...messages[0], status: "streaming" }]), null);
assert.equal(await branch.storedForm(conversation, []), null);
assert.equal(branch.digestOf(form), branch.digestOf(await branch.storedForm(conversation, messages)));
assert.notEqual(branch.digestOf(form), branch.digestOf(small));

// Known messages are found again; another device's answer becomes a branch; an empty browser gets everything.
const elsewhere = [...form.messages, { role: "assistant", content: "Quite.", status: "complete", model: "m-1", created: "2027-01-01T00:00:00.000Z" }];
const merged = await branch.mergeStored("c", messages, elsewhere);
assert.deepEqual(merged.added.map(({ parent, text, model }) => [parent, text, model]), [["4", "Quite.", "m-1"]]);
assert.deepEqual([merged.leaf, merged.system], [merged.added[0].id, "Be brief."]);
const fresh = await branch.mergeStored("c", [], form.messages);
assert.deepEqual(fresh.added.map(({ text, status }) => [text, status]), [["See", "complete"], ["A dot.", "complete"], ["A line", "stopped"], ["Sure?", "complete"]]);
assert.deepEqual(fresh.added[0].attachments.map(({ name, type }) => [name, type]), [["image-1.png", "image/png"], ["b.pdf", "application/pdf"]]);
assert.deepEqual(new Uint8Array(await fresh.added[0].attachments[0].bytes.arrayBuffer()), Uint8Array.of(1, 2));
assert.equal(branch.digestOf(await branch.storedForm({ ...conversation, leaf: fresh.leaf, system: fresh.system }, fresh.added)), branch.digestOf(form));
// Edited first messages, equal retries, and an answer of which nothing is stored keep their places.
const tree = [
  message("1", null, "user", "Hi"),
  message("2", "1", "assistant", "Hello."),
  message("3", "1", "assistant", "Hello."),
  message("4", null, "user", "Hey"),
  message("5", "4", "assistant", "", { attachments: [image] }),
  message("6", "5", "user", "Thanks"),
];
const whole = await branch.storedForm({ id: "c", title: "", leaf: "2" }, tree);
assert.deepEqual(whole.messages.map(({ content, parent }) => [content, parent]), [["Hi", undefined], ["Hello.", undefined], ["Hello.", 0], ["Hey", -1], ["Thanks", 3]]);
assert.deepEqual((await branch.mergeStored("c", tree, whole.messages)).added, []);
const copied = (await branch.mergeStored("c", [], whole.messages)).added;
assert.deepEqual(copied.map(({ parent }) => copied.findIndex(({ id }) => id === parent)), [-1, 0, 0, -1, 3]);
assert.deepEqual(await branch.storedForm({ id: "c", title: "", leaf: copied[1].id }, copied), whole);
const long = Array.from({ length: 1001 }, (_, index) => message(String(index), index ? "0" : null, index ? "assistant" : "user", "x"));
assert.equal((await branch.storedForm({ id: "c", title: "", leaf: "1000" }, long)).messages.length, 2);

assert.match(branch.timedId(0x0199_0000_0001), /^01990000-0001-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);

// Voice: a free model first, the text without marks, the price by characters.
const speaking = (id, free, available = true) => ({ id, kind: "speech", free, available });
assert.equal(voiceModel([speaking("a", false), speaking("b", true)], "speech", true).id, "b");
assert.equal(voiceModel([speaking("a", false)], "speech", false), undefined);
assert.equal(voiceModel([speaking("a", true, false)], "speech", true), undefined);
assert.equal(spokenText("# Title\n\n* **One** [link](https://example.com)\n\n```js\ncode()\n```\n> `two`"), "Title\nOne link\n\n two".replace("\n\n ", "\n"));
assert.equal(speechCost({ pricing: { credits_per_1k_characters: 15_000, credits_per_call: 0, minimum_credits: 10 } }, "Hello."), 90);
assert.equal(speechCost({ pricing: { credits_per_1k_characters: 15, credits_per_call: 0, minimum_credits: 10 } }, "Hello."), 10);

// The list: pinned first, folders by name, then by age.
const now = Date.parse("2027-01-31T12:00:00Z");
const row = (id, days, more = {}) => ({ id, updated_at: now - days * 86_400_000, pinned: false, folder: "", ...more });
const rows = [row("a", 0), row("b", 3), row("c", 30), row("d", 40, { pinned: true, folder: "X" }), row("e", 1, { folder: "Y" }), row("f", 1, { folder: "B" })];
assert.deepEqual(grouped(rows, now).map((group) => [group.name, group.rows.map(({ id }) => id)]), [
  ["Pinned", ["d"]],
  ["B", ["f"]],
  ["Y", ["e"]],
  ["Today", ["a"]],
  ["Previous 7 days", ["b"]],
  ["Older", ["c"]],
]);
// A second click while messages are saved sends nothing, and stopping then reaches the calls. Parameters that the settings do not
// show are not sent.
const { Conversation, newConversation } = await import(`${folder}/conversation.js`);
Object.defineProperty(globalThis, "navigator", { value: {}, configurable: true });
const calls = [];
globalThis.fetch = async (path, { body, signal }) => {
  calls.push({ path, body: JSON.parse(body), aborted: signal.aborted });
  if (signal.aborted) throw new DOMException("stopped", "AbortError");
  return new Response('data: {"delta": "Hello"}\n\ndata: {"done": true, "credits_charged": 3}\n\n');
};
const memory = { async saveConversation() {}, async updateConversation() {}, async saveMessage() {} };
const hidden = { model: "other", messages: [], n: 100, temperature: 0.5 };
const chat = new Conversation({ ...newConversation("m"), parameters: hidden }, [], { store: memory, models: new Map(), changed() {} });
const first = chat.send("Hi", [], ["m"]);
assert.equal(chat.running, true);
await Promise.all([first, chat.send("Hi", [], ["m"])]);
assert.deepEqual(calls.map(({ body }) => body), [{ temperature: 0.5, model: "m", messages: [{ role: "user", content: "Hi" }] }]);
const hello = chat.path.at(-1);
await Promise.all([chat.retry(hello, "m"), chat.retry(hello, "m"), chat.edit(chat.path[0], "Hi", ["m"])]);
assert.deepEqual([calls.length, chat.tree.totalCredits(), chat.running], [2, 6, false]);
const stopped = chat.retry(hello, "m");
chat.stop();
await stopped;
assert.deepEqual([calls.length, calls[2].aborted, chat.path.at(-1).status], [3, true, "stopped"]);

console.log("ok");
process.exit(); // the timers of the modules would keep it running
