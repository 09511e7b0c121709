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
