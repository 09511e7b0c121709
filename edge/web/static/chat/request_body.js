// Builds the request bodies of the native API from the messages of a conversation.
import { t } from "../i18n.js";

const PARAMETERS = ["temperature", "top_p", "max_tokens", "seed", "reasoning_effort"]; // those of parameters.js

// Return a blob as a data URL.
export function dataUrl(blob, type = blob.type) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.replace(/^data:[^;,]*/, `data:${type || "application/octet-stream"}`));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

const isText = ({ type }) => type.startsWith("text/") || /[/+](json|xml|javascript|yaml|csv)$/.test(type);

async function attachmentPart(attachment, model) {
  const { name, type, bytes } = attachment;
  if (isText(attachment)) return { type: "text", text: `${name}:\n\n${await bytes.text()}` };
  if (type.startsWith("image/")) {
    const sees = model?.input_modalities?.includes("image") ?? true;
    if (!sees) return { type: "text", text: `[${name}: ${t("This model does not accept images.")}]` };
    return { type: "image_url", image_url: { url: await dataUrl(bytes, type) } };
  }
  return { type: "file", file: { filename: name, file_data: await dataUrl(bytes, type) } };
}

async function requestMessage(message, model) {
  const attachments = message.role === "user" ? (message.attachments ?? []) : [];
  if (!attachments.length) return { role: message.role, content: message.text };
  const parts = await Promise.all(attachments.map((attachment) => attachmentPart(attachment, model)));
  return { role: message.role, content: message.text ? [...parts, { type: "text", text: message.text }] : parts };
}

// Return the body of a call that answers the last message of `path`. Answers without text are left out.
export async function requestBody(conversation, path, model) {
  const said = path.filter((message) => message.role === "user" || message.text);
  const messages = await Promise.all(said.map((message) => requestMessage(message, model)));
  const system = conversation.system?.trim();
  if (system) messages.unshift({ role: "system", content: system });
  return { ...parametersFor(conversation.parameters, model), model: model.id, messages };
}

// Return the parameters of a conversation that the model supports. An imported conversation may have others, which can cost more
// and are not shown in the settings.
export function parametersFor(parameters = {}, model = {}) {
  const supported = model.supported_parameters;
  return Object.fromEntries(
    Object.entries(parameters).filter(([name, value]) => PARAMETERS.includes(name) && value !== null && value !== undefined && value !== "" && (!supported?.length || supported.includes(name))),
  );
}

// Return a body of the same size for a quote, with every text replaced, so that an unsent draft does not leave the browser.
export function quoteBody(body) {
  const hide = (text) => "text ".repeat(Math.ceil(byteLength(text) / 5)).slice(0, byteLength(text)) || "-";
  const hidePart = (part) => {
    if (part.type === "text") return { ...part, text: hide(part.text) };
    if (part.type === "image_url") return { ...part, image_url: { url: "data:image/png;base64,AA==" } };
    return { ...part, file: { filename: "file", file_data: "A".repeat(part.file.file_data.length) } };
  };
  const messages = body.messages.map(({ role, content }) => ({
    role,
    content: typeof content === "string" ? hide(content) : content.map(hidePart),
  }));
  return { ...body, messages };
}

function byteLength(text) {
  return new TextEncoder().encode(text).length;
}

// Return an upper bound of the credits of a body, to decide whether asking for a quote is worth it. Errs on the high side.
export function roughBound(body, model) {
  const { credits_per_1k_input: input, credits_per_1k_output: output, credits_per_call: call } = model.pricing;
  const size = byteLength(JSON.stringify(body)) + 64;
  const inputTokens = model.context_window ? Math.min(size, model.context_window) : size;
  const outputTokens = Math.min(body.max_tokens ?? Infinity, model.max_output_tokens ?? model.context_window ?? 100_000);
  return call + Math.ceil((inputTokens * input + outputTokens * output) / 1000);
}
