// Converts a conversation with all its branches to the messages that the server stores, and back. Independent of the page and the store.
import { newId } from "./dom.js";
import { base64, shownPath } from "./transfer_formats.js";

const MAX_MESSAGES = 1000; // the API's limit

/**
 * The body of `PUT /api/chat/conversations/<id>/` without `updated`, or null if there is nothing to store yet. The branch on screen is
 * the main one; the others are left out without `branches`, or if they are too many.
 */
export async function storedForm(conversation, messages, { files = true, branches = true } = {}) {
  const path = shownPath(conversation, messages);
  if (path.some((message) => message.status === "streaming")) return null;
  const shown = new Set(path.map(({ id }) => id));
  const rows = oldestFirst(messages).filter((message) => isStored(message) && (branches || shown.has(message.id)));
  if (!rows.some(({ id }) => shown.has(id))) return null;
  const system = conversation.system?.trim();
  const stored = system ? [{ role: "system", content: system, status: "complete", model: null }] : [];
  if (branches && stored.length + rows.length > MAX_MESSAGES) return storedForm(conversation, messages, { files, branches: false });
  const before = storedParents(messages);
  const positions = new Map();
  for (const message of rows) {
    const status = message.status === "complete" ? "complete" : "partial";
    const model = message.role === "assistant" ? (message.model ?? null) : null;
    const parent = shown.has(message.id) ? {} : { parent: positions.get(before.get(message.id)) ?? -1 };
    positions.set(message.id, stored.length);
    stored.push({ role: message.role, content: await storedContent(message, files), status, model, ...parent });
  }
  return { title: oneLine(conversation.title).slice(0, 200), messages: stored };
}

function isStored({ role, text, status, attachments = [] }) {
  return status !== "streaming" && Boolean(text || (role === "user" && attachments.length));
}

/** The messages by age, but none before its parent: clocks of devices differ. */
function oldestFirst(messages) {
  const ids = new Set(messages.map(({ id }) => id));
  const below = new Map();
  for (const message of messages) {
    const parent = ids.has(message.parent) ? message.parent : null;
    below.set(parent, [...(below.get(parent) ?? []), message]);
  }
  const found = [];
  const open = [...(below.get(null) ?? [])];
  while (open.length) {
    const next = open.reduce((a, b) => (b.created_at < a.created_at || (b.created_at === a.created_at && b.id < a.id) ? b : a));
    open.splice(open.indexOf(next), 1, ...(below.get(next.id) ?? []));
    found.push(next);
  }
  return found;
}

/** The nearest message above each message that is stored; null if there is none. */
function storedParents(messages) {
  const byId = new Map(messages.map((message) => [message.id, message]));
  const above = (message) => {
    let at = byId.get(message.parent);
    while (at && !isStored(at)) at = byId.get(at.parent);
    return at?.id ?? null;
  };
  return new Map(messages.map((message) => [message.id, above(message)]));
}

/** A message's content as the API has it: text, or parts if it has files. Images of answers are not stored. */
async function storedContent({ role, text, attachments = [] }, files) {
  if (role !== "user" || !attachments.length) return text;
  const parts = [];
  for (const { name, type, bytes } of attachments) {
    if (!files) parts.push({ type: "text", text: `[${name}]` });
    else if (type.startsWith("image/")) parts.push({ type: "image_url", image_url: { url: `data:${type};base64,${await base64(bytes)}` } });
    else parts.push({ type: "file", file: { filename: name, file_data: `data:${type};base64,${await base64(bytes)}` } });
  }
  return text ? [...parts, { type: "text", text }] : parts;
}

/** A short digest of a stored form, to see whether it changed. */
export function digestOf(form) {
  let [a, b] = [0xdeadbeef, 0x41c6ce57];
  for (const character of JSON.stringify(form)) {
    const code = character.codePointAt(0);
    a = Math.imul(a ^ code, 2654435761);
    b = Math.imul(b ^ code, 1597334677);
  }
  return `${(a >>> 0).toString(16)}${(b >>> 0).toString(16)}`;
}

/**
 * Merge the server's messages into a conversation's tree. Known messages are kept; new ones form further branches. Returns
 * `{added, leaf, system}`: the new messages, the end of the main branch, and the system prompt.
 */
export async function mergeStored(conversation, messages, stored) {
  const before = storedParents(messages);
  const below = new Map();
  for (const message of oldestFirst(messages).filter(isStored)) {
    const parent = before.get(message.id);
    below.set(parent, [...(below.get(parent) ?? []), message]);
  }
  const added = [];
  const ids = []; // by position
  const known = new Set();
  let leaf = null;
  let system = "";
  for (const [position, row] of stored.entries()) {
    if (row.role !== "user" && row.role !== "assistant") {
      system = textOf(row.content);
      continue;
    }
    const onMain = (row.parent ?? null) === null;
    const parent = onMain ? leaf : (ids[row.parent] ?? null);
    const found = await sameMessage((below.get(parent) ?? []).filter(({ id }) => !known.has(id)), row);
    const message = found ?? newMessage(conversation, parent, row, position);
    if (!found) added.push(message);
    known.add(message.id);
    ids[position] = message.id;
    if (onMain) leaf = message.id;
  }
  return { added, leaf, system };
}

async function sameMessage(candidates, row) {
  const content = JSON.stringify(row.content);
  for (const message of candidates) {
    if (message.role === row.role && JSON.stringify(await storedContent(message, true)) === content) return message;
  }
  return null;
}

function newMessage(conversation, parent, row, position) {
  const attachments = Array.isArray(row.content) ? row.content.map(attachmentOf).filter(Boolean) : [];
  return {
    id: newId(),
    conversation,
    parent,
    role: row.role,
    text: textOf(row.content),
    status: row.status === "partial" ? "stopped" : "complete",
    created_at: (Date.parse(row.created) || Date.now()) + position, // versions are ordered by it
    ...(row.model ? { model: row.model } : {}),
    ...(attachments.length ? { attachments } : {}),
  };
}

function attachmentOf(part, index) {
  const url = part.type === "image_url" ? part.image_url?.url : part.type === "file" ? part.file?.file_data : null;
  const [, type, data] = /^data:([^;,]+);base64,(.*)$/s.exec(url ?? "") ?? [];
  if (!type) return null;
  const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
  const name = part.file?.filename ?? `image-${index + 1}.${type.split("/")[1]}`;
  return { name, type, bytes: new Blob([bytes], { type }) };
}

function textOf(content) {
  if (typeof content === "string") return content;
  return content.filter((part) => part.type === "text").map((part) => part.text ?? "").join("\n\n");
}

/** A new UUIDv7: the server lists conversations by id, newest first. */
export function timedId(now = Date.now()) {
  const time = now.toString(16).padStart(12, "0");
  const [, , , variant, rest] = newId().split("-");
  return `${time.slice(0, 8)}-${time.slice(8)}-7${newId().slice(15, 18)}-${variant}-${rest}`;
}

const oneLine = (text) => String(text ?? "").replace(/[\p{Cc}\p{Cf}\s]+/gu, " ").trim();
