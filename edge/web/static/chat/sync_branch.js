// Converts the branch that a conversation shows to the messages that the server stores, and back. The server stores one branch; all
// others stay in the browser. Independent of the page and the store.
import { newId } from "./dom.js";
import { base64, shownPath } from "./transfer_formats.js";

/** The body of `PUT /api/chat/conversations/<id>/` without `updated`, or null if there is nothing to store yet. */
export async function storedForm(conversation, messages, { files = true } = {}) {
  const path = shownPath(conversation, messages);
  if (path.some((message) => message.status === "streaming")) return null;
  const stored = [];
  for (const message of path) {
    const content = await storedContent(message, files);
    const status = message.status === "complete" ? "complete" : "partial";
    const model = message.role === "assistant" ? (message.model ?? null) : null;
    if (content.length) stored.push({ role: message.role, content, status, model });
  }
  if (!stored.length) return null;
  const system = conversation.system?.trim();
  if (system) stored.unshift({ role: "system", content: system, status: "complete", model: null });
  return { title: oneLine(conversation.title).slice(0, 200), messages: stored };
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
 * Merge the server's branch into a conversation's tree. Known messages are kept; from the first difference on, new messages form
 * another branch. Returns `{added, leaf, system}`: the new messages, the end of the branch, and the system prompt.
 */
export async function mergeBranch(conversation, messages, stored) {
  const below = new Map();
  for (const message of messages) below.set(message.parent ?? null, [...(below.get(message.parent ?? null) ?? []), message]);
  const added = [];
  let parent = null;
  let system = "";
  for (const row of stored) {
    if (row.role !== "user" && row.role !== "assistant") {
      system = textOf(row.content);
      continue;
    }
    const found = await sameMessage(below.get(parent) ?? [], row);
    const message = found ?? newMessage(conversation, parent, row);
    if (!found) added.push(message);
    parent = message.id;
  }
  return { added, leaf: parent, system };
}

async function sameMessage(candidates, row) {
  const content = JSON.stringify(row.content);
  for (const message of candidates) {
    if (message.role === row.role && JSON.stringify(await storedContent(message, true)) === content) return message;
  }
  return null;
}

function newMessage(conversation, parent, row) {
  const attachments = Array.isArray(row.content) ? row.content.map(attachmentOf).filter(Boolean) : [];
  return {
    id: newId(),
    conversation,
    parent,
    role: row.role,
    text: textOf(row.content),
    status: row.status === "partial" ? "stopped" : "complete",
    created_at: Date.parse(row.created) || Date.now(),
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
