// Which files can be attached for a model: types and sizes. Pure, except for reading the file.

export const IMAGE_TYPES = ["image/png", "image/jpeg", "image/webp", "image/gif"];
export const PDF = "application/pdf";
export const MAX_FILES = 10; // per message
export const MAX_TEXT_BYTES = 500_000; // a text file is sent as text, and every byte may be a token
export const DEFAULT_BODY_BYTES = 20_000_000;
const BASE64 = 4 / 3;
const FILE_SHARE = 0.9; // of a request; the rest is for the text of the conversation

/** The bytes of images and PDFs that fit into one request. */
export function binaryBudget(bodyBytes = DEFAULT_BODY_BYTES) {
  return Math.floor((bodyBytes * FILE_SHARE) / BASE64);
}

/** "image", "pdf", "text", or null for a file that no model accepts. */
export async function kindOf(file) {
  const type = file.type.split(";")[0];
  if (IMAGE_TYPES.includes(type)) return "image";
  if (type === PDF) return "pdf";
  if (/^(image|audio|video|font)\//.test(type)) return type === "image/svg+xml" ? "text" : null;
  return (await isText(file)) ? "text" : null;
}

/** Whether a model accepts files of this kind. Every chat model accepts text. */
export function accepts(model, kind) {
  if (kind === "text" || !model) return true;
  const inputs = model.input_modalities ?? [];
  const tags = model.tags ?? [];
  if (kind === "image") return inputs.includes("image") || tags.includes("vision");
  return inputs.includes("file") || tags.includes("documents");
}

/** Why a file cannot be added: null or `{code, …}`. `present` are the attachments so far, as `{kind, size}`. */
export function refusal(file, kind, present, { budget = binaryBudget(), model = null } = {}) {
  if (kind === null) return { code: "type" };
  if (file.size === 0) return { code: "empty" };
  if (!accepts(model, kind)) return { code: kind };
  if (present.length >= MAX_FILES) return { code: "count", limit: MAX_FILES };
  if (kind === "text") return file.size > MAX_TEXT_BYTES ? { code: "text_size", limit: MAX_TEXT_BYTES } : null;
  if (file.size > budget) return { code: "size", limit: budget };
  const used = present.filter((other) => other.kind !== "text").reduce((sum, other) => sum + other.size, 0);
  return used + file.size > budget ? { code: "total", limit: budget } : null;
}

async function isText(file) {
  const start = new Uint8Array(await file.slice(0, 4096).arrayBuffer());
  if (start.includes(0)) return false;
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(start, { stream: true }); // a character may be cut at the end
    return true;
  } catch {
    return false;
  }
}
