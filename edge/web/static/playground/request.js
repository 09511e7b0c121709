// Builds a chat request from the playground's form. Pure, apart from reading the form.
import { t } from "../i18n.js";

const NUMBERS = ["temperature", "top_p", "presence_penalty", "frequency_penalty", "max_completion_tokens", "seed"];

// An invalid value of the form. `field` is the name of its control.
export class InvalidField extends Error {
  constructor(field, message) {
    super(message);
    this.field = field;
  }
}

// Return the request body for the form and its messages. Throws `InvalidField`.
export function buildRequest(form, messages) {
  const value = (name) => form.elements[name].value.trim();
  const body = { model: value("model"), messages: [] };
  if (value("system")) body.messages.push({ role: "system", content: value("system") });
  body.messages.push(...messages);
  for (const name of NUMBERS) {
    if (!form.elements[name].checkValidity()) throw new InvalidField(name, form.elements[name].validationMessage);
    if (value(name)) body[name] = Number(value(name));
  }
  const stop = value("stop").split("\n").filter(Boolean);
  if (stop.length) body.stop = stop.length === 1 ? stop[0] : stop;
  if (value("reasoning_effort")) body.reasoning_effort = value("reasoning_effort");
  addTools(body, value("tools"), value("tool_choice"));
  addFormat(body, value("format"), value("schema"));
  if (form.elements.stream.checked) {
    body.stream = true;
    body.stream_options = { include_usage: true };
  }
  return body;
}

function addTools(body, text, choice) {
  if (!text) return;
  const tools = parse("tools", text);
  if (!Array.isArray(tools)) throw new InvalidField("tools", t("Enter a JSON array of tools."));
  if (!tools.length) return;
  body.tools = tools;
  if (choice) body.tool_choice = choice;
}

function addFormat(body, format, text) {
  if (format === "json_object") body.response_format = { type: "json_object" };
  if (format !== "json_schema") return;
  const schema = parse("schema", text);
  if (schema === null || typeof schema !== "object" || Array.isArray(schema)) {
    throw new InvalidField("schema", t("Enter a JSON schema as a JSON object."));
  }
  body.response_format = { type: "json_schema", json_schema: { name: "answer", strict: true, schema } };
}

function parse(field, text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new InvalidField(field, t("This is not valid JSON: {reason}", { reason: error.message }));
  }
}
