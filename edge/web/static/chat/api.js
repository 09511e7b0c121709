// Calls the native API. Errors become `ApiError` with the API's code.
import { language, t } from "../i18n.js";

const csrfToken = document.querySelector("meta[name=csrf-token]")?.content;
export const signedIn = csrfToken !== undefined;

export class ApiError extends Error {
  // `code` is the API's, or "network" if the server was not reached, or "interrupted" if the connection was lost during the answer.
  constructor(code, message, details = {}) {
    super(message);
    this.code = code;
    Object.assign(this, details);
  }
}

// The fields of an error that are kept with a message.
export function storedError(error) {
  const { code, message, request_id, cheaper_models, successor } = error;
  return { code: code ?? "client_error", message, request_id, cheaper_models, successor };
}

function networkError() {
  const offline = navigator.onLine === false;
  return new ApiError("network", offline ? t("You are offline.") : t("The server could not be reached."));
}

async function send(path, { body, form, signal, method } = {}) {
  const headers = { accept: "application/json" };
  if (body !== undefined) headers["content-type"] = "application/json";
  if (csrfToken) headers["x-csrf-token"] = csrfToken;
  try {
    return await fetch(path, {
      method: method ?? (body === undefined && form === undefined ? "GET" : "POST"),
      headers,
      body: body === undefined ? form : JSON.stringify(body),
      signal,
    });
  } catch (error) {
    throw error.name === "AbortError" ? error : networkError();
  }
}

// The message of an API error in the page's language. Its text is loaded only when it is needed, and not on English pages.
async function messageOf(error, details) {
  if (language === "en") return error.message;
  const texts = await import("../error_texts.js").catch(() => null); // offline
  return texts?.errorText(error, details) ?? error.message;
}

async function errorOf(response) {
  const request_id = response.headers.get("x-request-id") ?? undefined;
  const document = await response.json().catch(() => null);
  const found = document?.error;
  if (!found) return new ApiError("server_error", t("The server answered with status {status}.", { status: response.status }), { request_id });
  const { cheaper_models, successor } = document.yout ?? {};
  return new ApiError(found.code, await messageOf(found, document.yout), { status: response.status, request_id, cheaper_models, successor });
}

// Return the JSON answer of an endpoint. Raises `ApiError`.
export async function call(path, options = {}) {
  const response = await send(path, options);
  if (!response.ok) throw await errorOf(response);
  try {
    return await response.json();
  } catch (error) {
    // The connection was lost, or the response is not from the API.
    throw error.name === "AbortError" ? error : networkError();
  }
}

export const listModels = () => call("/api/chat/models/");
export const sendForm = (path, form) => call(path, { form });
export const readLimit = () => call("/api/chat/limit/");
export const quote = (body, signal) => call("/api/quote/", { body, signal });
export const storedConversation = (id) => call(`/api/chat/conversations/${encodeURIComponent(id)}/`);

// Return the receipt of a call that may still be ending; null if it left none.
export async function receipt(requestId, waitSeconds = 0) {
  try {
    return await call(`/api/receipts/${encodeURIComponent(requestId)}/?wait=${waitSeconds}`);
  } catch (error) {
    if (error instanceof ApiError) return null;
    throw error;
  }
}

// Yield the events of a streamed answer. `started` gets the request id as soon as it is known. Raises `ApiError`, and `AbortError`
// after `signal` aborts.
export async function* stream(body, { signal, started }) {
  const response = await send("/api/chat/stream/", { body, signal });
  if (!response.ok) throw await errorOf(response);
  const request_id = response.headers.get("x-request-id") ?? undefined;
  started(request_id);
  const lost = () => new ApiError("interrupted", t("The connection was lost before the answer was complete."), { request_id });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    let part;
    try {
      part = await reader.read();
    } catch (error) {
      throw error.name === "AbortError" ? error : lost();
    }
    if (part.done) throw lost();
    const lines = (rest + part.value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (!line.startsWith("data: ")) continue;
      const event = JSON.parse(line.slice(6));
      if (event.error) throw new ApiError(event.error.code, await messageOf(event.error), { request_id });
      yield event;
      if (event.done) return;
    }
  }
}
