// Reads exported conversations (ChatGPT's export, our JSON, a ZIP with one of them) and writes JSON and Markdown.
// Independent of the page and the store.
//
// A read conversation is `{conversation, messages}` in the store's format. Message ids are new, because ChatGPT uses the same ids in
// branched chats. Conversation ids are kept, so that a second import of the same file finds what is already there.

export const FORMAT = "yout-chat";
export const FORMAT_VERSION = 1;
const MAX_TITLE = 200; // characters
const MAX_TIME = Date.UTC(9999, 11, 31); // later ones cannot be shown
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
const CONVERSATIONS = /(^|\/)conversations(-\d+)?\.json$/; // large exports are split into numbered files
const SHOWN_ROLES = ["user", "assistant"];
const STATUSES = ["complete", "stopped", "failed"];

/** An import that cannot be read. `code` is "not_json", "unknown_format", "empty_zip" or "large_zip". */
export class TransferError extends Error {
  constructor(code) {
    super(code);
    this.code = code;
  }
}

/** Read a file (a Blob) of any supported format. Returns the conversations. Throws `TransferError`. */
export async function readExport(blob) {
  const start = new Uint8Array(await blob.slice(0, 4).arrayBuffer());
  const isZip = start[0] === 0x50 && start[1] === 0x4b; // "PK"
  try {
    const texts = isZip ? await readZip(blob) : [await blob.text()];
    return texts.flatMap((text) => parseExport(text));
  } catch (error) {
    throw error instanceof TransferError ? error : new TransferError(isZip ? "empty_zip" : "not_json"); // damaged, or too large
  }
}

/** Read the text of a JSON export. Throws `TransferError`. */
export function parseExport(text) {
  let data;
  try {
    data = JSON.parse(text.replace(/^\uFEFF/, ""));
  } catch {
    throw new TransferError("not_json");
  }
  if (isObject(data) && data.format === FORMAT && Array.isArray(data.conversations)) {
    return data.conversations.filter(isObject).map(fromOwn).filter(hasMessages);
  }
  const chats = Array.isArray(data) ? data : [data];
  if (!chats.some((chat) => isObject(chat) && isObject(chat.mapping)) && chats.length) throw new TransferError("unknown_format");
  return chats.filter((chat) => isObject(chat) && isObject(chat.mapping)).map(fromChatGpt).filter(hasMessages);
}

/** Convert a conversation of ChatGPT's export with all branches. Hidden, system and tool messages are left out. */
export function fromChatGpt(chat) {
  const created = milliseconds(chat.create_time) ?? Date.now();
  const id = conversationId(chat.conversation_id ?? chat.id);
  const nodes = chat.mapping;
  const placed = new Map(); // node id → {message: id of the nearest shown message, reasoning, at}
  const messages = [];
  for (const node of inOrder(nodes)) {
    const above = placed.get(node.parent) ?? { message: null, reasoning: "", at: created };
    const said = chatGptMessage(node.message);
    const at = milliseconds(node.message?.create_time) ?? above.at + 1;
    if (!said) placed.set(node.id, { ...above, reasoning: joined(above.reasoning, chatGptReasoning(node.message)) });
    else {
      const message = { id: newId(), conversation: id, parent: above.message, ...said, status: "complete", created_at: at };
      if (said.role === "assistant" && above.reasoning) message.reasoning = above.reasoning;
      messages.push(message);
      placed.set(node.id, { message: message.id, reasoning: "", at });
    }
  }
  return {
    conversation: {
      ...emptyConversation(id),
      title: title(chat.title),
      created_at: created,
      updated_at: milliseconds(chat.update_time) ?? created,
      leaf: placed.get(chat.current_node)?.message ?? messages.at(-1)?.id ?? null,
    },
    messages,
  };
}

function chatGptMessage(message) {
  const role = message?.author?.role;
  if (!SHOWN_ROLES.includes(role) || message.metadata?.is_visually_hidden_from_conversation) return null;
  if (!["all", undefined, null].includes(message.recipient)) return null; // a call of a tool
  const text = chatGptText(message.content);
  if (!text.trim()) return null;
  return role === "user" ? { role, text } : { role, text, model: message.metadata?.model_slug ?? null };
}

function chatGptText(content) {
  if (content?.content_type === "text" || content?.content_type === "multimodal_text") {
    const parts = Array.isArray(content.parts) ? content.parts : [];
    return parts.map(chatGptPart).filter(Boolean).join("\n\n");
  }
  if (content?.content_type === "code" && typeof content.text === "string") return "```\n" + content.text + "\n```";
  return "";
}

function chatGptPart(part) {
  if (typeof part === "string") return part;
  if (typeof part?.text === "string") return part.text; // the transcript of spoken words
  return part?.content_type === "image_asset_pointer" ? "[image]" : "";
}

function chatGptReasoning(message) {
  const thoughts = message?.content?.content_type === "thoughts" ? message.content.thoughts : null;
  if (!Array.isArray(thoughts)) return "";
  return thoughts.map((thought) => (typeof thought?.content === "string" ? thought.content : "")).filter(Boolean).join("\n\n");
}

/** The nodes of a mapping, parents before children. Nodes in a loop are left out. */
function inOrder(nodes) {
  const children = new Map();
  for (const [id, node] of Object.entries(nodes)) {
    if (!isObject(node)) continue;
    const parent = node.parent in nodes && node.parent !== id ? node.parent : null;
    if (!children.has(parent)) children.set(parent, []);
    children.get(parent).push({ id, parent, message: node.message });
  }
  const found = [];
  const waiting = [...(children.get(null) ?? [])].reverse();
  while (waiting.length) {
    const node = waiting.pop();
    found.push(node);
    waiting.push(...[...(children.get(node.id) ?? [])].reverse());
  }
  return found;
}

/** Convert a conversation of our own export, keeping only known fields of the right type. */
function fromOwn(row) {
  const id = conversationId(row.id);
  const rows = (Array.isArray(row.messages) ? row.messages : []).filter(
    (message) => isObject(message) && SHOWN_ROLES.includes(message.role) && typeof message.text === "string",
  );
  const ids = new Map(rows.map((message) => [message.id, newId()]));
  const groups = new Map();
  const messages = rows.map((message) => ({
    id: ids.get(message.id),
    conversation: id,
    parent: ids.get(message.parent) ?? null,
    role: message.role,
    text: message.text,
    status: STATUSES.includes(message.status) ? message.status : "complete",
    created_at: time(message.created_at) ?? Date.now(),
    ...texts(message, ["reasoning", "model", "request_id", "finish_reason"]),
    ...(Number.isSafeInteger(message.credits) && message.credits >= 0 ? { credits: message.credits } : {}),
    ...(typeof message.group === "string" ? { group: renamed(groups, message.group) } : {}),
    ...(Array.isArray(message.attachments) ? { attachments: message.attachments.map(readAttachment).filter(Boolean) } : {}),
  }));
  const known = {
    ...emptyConversation(id),
    ...texts(row, ["folder", "system", "model"]),
    title: title(row.title),
    created_at: time(row.created_at) ?? Date.now(),
    updated_at: time(row.updated_at) ?? Date.now(),
    pinned: row.pinned === true,
    parameters: isObject(row.parameters) ? row.parameters : {},
    leaf: ids.get(row.leaf) ?? messages.at(-1)?.id ?? null,
  };
  return { conversation: known, messages };
}

function readAttachment(row) {
  if (!isObject(row) || typeof row.name !== "string" || typeof row.data !== "string") return null;
  const type = typeof row.type === "string" ? row.type : "application/octet-stream";
  try {
    const bytes = Uint8Array.from(atob(row.data), (character) => character.charCodeAt(0));
    return { name: row.name, type, bytes: new Blob([bytes], { type }) };
  } catch {
    return null; // not base64
  }
}

/** Our JSON export of `[{conversation, messages}]`, as a Blob, with attachments in base64. */
export async function writeJson(exported, now = new Date()) {
  const parts = [`{"format":"${FORMAT}","version":${FORMAT_VERSION},"exported_at":"${now.toISOString()}","conversations":[`];
  for (const [index, { conversation, messages }] of exported.entries()) {
    const rows = [];
    for (const { conversation: _, ...message } of messages) rows.push(await writtenMessage(message));
    const { remote: __, ...row } = conversation; // the server copy is known only to this browser
    parts.push((index ? ",\n" : "\n") + JSON.stringify({ ...row, messages: rows }));
  }
  return new Blob([...parts, "\n]}\n"], { type: "application/json" });
}

async function writtenMessage(message) {
  if (!message.attachments?.length) return message;
  const attachments = [];
  for (const { name, type, bytes } of message.attachments) attachments.push({ name, type, data: await base64(bytes) });
  return { ...message, attachments };
}

/** Markdown of one branch. `labels` are the headings: `{user, assistant, reasoning, attachment}`. */
export function writeMarkdown(conversation, path, labels) {
  const blocks = [`# ${oneLine(conversation.title) || labels.untitled}`];
  for (const message of path) {
    const name = message.role === "user" ? labels.user : [labels.assistant, message.model].filter(Boolean).join(" · ");
    blocks.push(`## ${name}`);
    if (message.reasoning) blocks.push(`${labels.reasoning}:\n\n${quoted(message.reasoning)}`);
    for (const { name: file } of message.attachments ?? []) blocks.push(`${labels.attachment}: ${oneLine(file)}`);
    if (message.text) blocks.push(message.text.trim());
  }
  return `${blocks.join("\n\n")}\n`;
}

/** The branch that a conversation shows: from the first message to its leaf, or to the newest message. */
export function shownPath(conversation, messages) {
  const byId = new Map(messages.map((message) => [message.id, message]));
  const newest = [...messages].sort((a, b) => a.created_at - b.created_at).at(-1);
  const path = [];
  for (let at = byId.get(conversation.leaf) ?? newest; at && !path.includes(at); at = byId.get(at.parent)) path.unshift(at);
  return path;
}

/** A file name made from a title. */
export function fileName(text, extension) {
  const name = oneLine(text).replace(/[^\p{L}\p{N} _.-]+/gu, "").trim().replace(/\s+/g, "-").slice(0, 60).replace(/^[.-]+|[.-]+$/g, "");
  return `${name || "conversation"}.${extension}`;
}

// ZIP files (APPNOTE.TXT of PKWARE): the directory is at the end; each entry is stored or deflated.

async function readZip(blob) {
  const tail = await view(blob.slice(Math.max(0, blob.size - 65_557)));
  let end = tail.byteLength - 22;
  while (end >= 0 && tail.getUint32(end, true) !== 0x06054b50) end -= 1;
  if (end < 0) throw new TransferError("empty_zip");
  const [size, offset] = [tail.getUint32(end + 12, true), tail.getUint32(end + 16, true)];
  if (offset === 0xffffffff) throw new TransferError("large_zip"); // ZIP64
  const directory = await view(blob.slice(offset, offset + size));
  const texts = [];
  for (let at = 0; at + 46 <= directory.byteLength && directory.getUint32(at, true) === 0x02014b50; ) {
    const entry = {
      method: directory.getUint16(at + 10, true),
      size: directory.getUint32(at + 20, true),
      offset: directory.getUint32(at + 42, true),
    };
    const nameLength = directory.getUint16(at + 28, true);
    const name = new TextDecoder().decode(new Uint8Array(directory.buffer, directory.byteOffset + at + 46, nameLength));
    if (CONVERSATIONS.test(name)) texts.push(await readEntry(blob, entry));
    at += 46 + nameLength + directory.getUint16(at + 30, true) + directory.getUint16(at + 32, true);
  }
  if (!texts.length) throw new TransferError("empty_zip");
  return texts;
}

async function readEntry(blob, { method, size, offset }) {
  if (offset === 0xffffffff || size === 0xffffffff) throw new TransferError("large_zip");
  const head = await view(blob.slice(offset, offset + 30));
  const start = offset + 30 + head.getUint16(26, true) + head.getUint16(28, true);
  const data = blob.slice(start, start + size);
  if (method === 0) return data.text();
  if (method !== 8) throw new TransferError("empty_zip");
  return new Response(data.stream().pipeThrough(new DecompressionStream("deflate-raw"))).text();
}

async function view(blob) {
  return new DataView(await blob.arrayBuffer());
}

/** The content of a Blob in base64. */
export async function base64(blob) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  let text = "";
  for (let at = 0; at < bytes.length; at += 0x8000) text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  return btoa(text);
}

function emptyConversation(id) {
  return { id, title: "", created_at: 0, updated_at: 0, pinned: false, folder: "", model: null, system: "", parameters: {}, leaf: null };
}

function newId() {
  if (crypto.randomUUID) return crypto.randomUUID();
  return "10000000-1000-4000-8000-100000000000".replace(/[018]/g, (digit) =>
    (Number(digit) ^ (crypto.getRandomValues(new Uint8Array(1))[0] & (15 >> (Number(digit) / 4)))).toString(16),
  );
}

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const hasMessages = ({ messages }) => messages.length > 0;
const number = (value) => (typeof value === "number" && Number.isFinite(value) ? value : null);
const time = (value) => (number(value) === null || value < 0 || value > MAX_TIME ? null : Math.round(value));
const milliseconds = (seconds) => (number(seconds) === null ? null : time(seconds * 1000));
const oneLine = (text) => String(text ?? "").replace(/\s+/g, " ").trim();
const title = (text) => oneLine(typeof text === "string" ? text : "").slice(0, MAX_TITLE);
const joined = (first, second) => [first, second].filter(Boolean).join("\n\n");
const quoted = (text) => text.trim().split("\n").map((line) => `> ${line}`).join("\n");
const conversationId = (id) => (typeof id === "string" && UUID.test(id) ? id.toLowerCase() : newId());
const texts = (row, names) => Object.fromEntries(names.filter((name) => typeof row[name] === "string").map((name) => [name, row[name]]));

function renamed(names, name) {
  if (!names.has(name)) names.set(name, newId());
  return names.get(name);
}
