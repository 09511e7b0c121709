// The playground: sends a chat completion and shows the request as code, the raw response, the answer and its receipt.
import { errorText } from "../error_texts.js";
import { language, t } from "../i18n.js";
import { addDocument, emptyAnswer, eventOf, lines } from "./answer.js";
import { buildRequest, InvalidField } from "./request.js";
import { snippets } from "./snippets.js";

const byId = (id) => document.getElementById(id);
const root = byId("playground");
const form = byId("request");
const messageList = byId("messages");
const signedIn = "signedIn" in root.dataset;
const KEPT = "yout-playground"; // the form, in this tab's storage, so that a reload does not lose it
const MAX_RAW_CHARACTERS = 300_000;
const RECEIPT_WAIT_SECONDS = 5;
let running = null; // the AbortController of the running call

const number = new Intl.NumberFormat(document.documentElement.lang || "en", { maximumFractionDigits: 2 });

// 14 999 990, as on all pages
function formatCount(count) {
  return String(count).replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f");
}

// Messages

function addMessage({ role = "user", content = "" } = {}, focus = false) {
  const item = byId("message-row").content.firstElementChild.cloneNode(true);
  item.querySelector("select").value = role;
  item.querySelector("textarea").value = content;
  item.querySelector("button").addEventListener("click", () => {
    const next = item.nextElementSibling ?? item.previousElementSibling;
    item.remove();
    (next?.querySelector("textarea") ?? byId("add")).focus();
    update();
  });
  messageList.append(item);
  if (focus) item.querySelector("textarea").focus();
}

function messages() {
  return [...messageList.children].map((item) => ({
    role: item.querySelector("select").value,
    content: item.querySelector("textarea").value,
  }));
}

// The form's state

function keep() {
  const fields = Object.fromEntries(
    [...form.elements].filter((one) => one.name).map((one) => [one.name, one.type === "checkbox" ? one.checked : one.value]),
  );
  try { sessionStorage.setItem(KEPT, JSON.stringify({ fields, messages: messages() })); } catch { /* storage is blocked or full */ }
}

function restore() {
  let kept = null;
  try { kept = JSON.parse(sessionStorage.getItem(KEPT)); } catch { /* storage is blocked, or has something else */ }
  for (const [name, value] of Object.entries(kept?.fields ?? {})) {
    const control = form.elements[name];
    if (!control) continue;
    if (control.type === "checkbox") control.checked = value;
    else if (control.tagName !== "SELECT" || [...control.options].some((option) => option.value === value)) control.value = value;
  }
  (kept?.messages?.length ? kept.messages : [{}]).forEach((message) => addMessage(message));
  const wanted = new URLSearchParams(location.search).get("model");
  if (wanted && [...form.elements.model.options].some((option) => option.value === wanted)) form.elements.model.value = wanted;
}

// The request as code

function showErrors(error) {
  for (const place of form.querySelectorAll("[data-error]")) {
    const wrong = error instanceof InvalidField && place.dataset.error === error.field;
    place.textContent = wrong ? error.message : "";
    const control = form.elements[place.dataset.error];
    if (wrong) control.setAttribute("aria-invalid", "true");
    else control.removeAttribute("aria-invalid");
  }
}

// Return the request, or null if a field is invalid, which is then marked.
function currentRequest() {
  try {
    const body = buildRequest(form, messages());
    showErrors(null);
    return body;
  } catch (error) {
    if (!(error instanceof InvalidField)) throw error;
    showErrors(error);
    return null;
  }
}

function update() {
  const model = form.elements.model.selectedOptions[0];
  byId("price").textContent = model?.dataset.price ?? "";
  byId("schema-field").hidden = form.elements.format.value !== "json_schema";
  const body = currentRequest();
  if (body) {
    const code = snippets(body, root.dataset.baseUrl);
    for (const block of document.querySelectorAll("[data-snippet]")) block.textContent = code[block.dataset.snippet];
  }
  keep();
}

// The call

function post(body) {
  const token = document.querySelector("meta[name=csrf-token]").content;
  return fetch("/v1/chat/completions", {
    method: "POST",
    headers: { "content-type": "application/json", "x-csrf-token": token },
    body: JSON.stringify(body),
    signal: running.signal,
  });
}

const raw = byId("raw");
let rawText = "";
let drawing = 0;

function showSoon(answer) {
  drawing ||= requestAnimationFrame(() => {
    drawing = 0;
    show(answer);
  });
}

function show(answer) {
  byId("text").textContent = answer.text;
  byId("reasoning").textContent = answer.reasoning;
  byId("reasoning-box").hidden = !answer.reasoning;
  byId("tool-calls").textContent = answer.toolCalls.map((call) => `${call.name}(${call.arguments})`).join("\n");
  byId("tool-calls-box").hidden = !answer.toolCalls.length;
  const atEnd = raw.scrollHeight - raw.scrollTop - raw.clientHeight < 40;
  raw.textContent = rawText.length > MAX_RAW_CHARACTERS
    ? `${t("The beginning is not shown.")}\n${rawText.slice(-MAX_RAW_CHARACTERS)}`
    : rawText;
  if (atEnd) raw.scrollTop = raw.scrollHeight;
}

async function readAnswer(response, answer) {
  if (!(response.headers.get("content-type") ?? "").startsWith("text/event-stream")) {
    const text = await response.text();
    try {
      const found = JSON.parse(text);
      rawText += JSON.stringify(found, null, 2);
      addDocument(answer, found);
    } catch {
      rawText += text;
      answer.error = { message: t("The server sent an answer that is not JSON (status {status}).", { status: response.status }) };
    }
    return;
  }
  for await (const line of lines(response)) {
    rawText += `${line}\n`;
    const event = eventOf(line);
    if (event) addDocument(answer, event);
    showSoon(answer);
  }
}

async function run() {
  const body = currentRequest();
  if (!body) {
    form.querySelector("[aria-invalid]").focus();
    return;
  }
  const answer = emptyAnswer();
  const started = performance.now();
  let id = "";
  rawText = "";
  running = new AbortController();
  busy(true);
  byId("status").textContent = t("Waiting for the answer…");
  byId("receipt").replaceChildren();
  byId("receipt-link").hidden = true;
  byId("failure").hidden = true;
  show(answer);
  try {
    const response = await post(body);
    id = response.headers.get("x-request-id") ?? "";
    rawText = `HTTP ${response.status}\nx-request-id: ${id}\n\n`;
    await readAnswer(response, answer);
    byId("status").textContent = "";
  } catch (error) {
    if (error.name === "AbortError") byId("status").textContent = t("Stopped. You are charged for what was delivered.");
    else answer.error = { message: t("The connection was lost. Check your network, then send the request again.") };
  }
  cancelAnimationFrame(drawing);
  drawing = 0;
  show(answer);
  running = null;
  busy(false);
  if (answer.error) showFailure(answer, id);
  await showReceipt(answer, id, performance.now() - started);
}

function busy(is) {
  byId("run").hidden = is;
  byId("stop").hidden = !is;
  if (is) byId("stop").focus();
  else byId("run").focus();
}

function showFailure({ error, yout }, id) {
  byId("status").textContent = "";
  const box = byId("failure");
  box.hidden = false;
  box.textContent = error.type && language !== "en" ? errorText(error, yout ?? {}) : error.message;
  const details = document.createElement("small");
  details.textContent = [error.code, id].filter(Boolean).join(" · ");
  box.append(details);
}

// The receipt

// Return the receipt, or null if there is none. A stopped call is settled shortly after the connection closes.
async function fetchReceipt(id) {
  const response = await fetch(`/api/receipts/${id}/?wait=${RECEIPT_WAIT_SECONDS}`).catch(() => null);
  return response?.ok ? response.json() : null;
}

async function showReceipt(answer, id, milliseconds) {
  const receipt = id ? await fetchReceipt(id) : null;
  const rows = [];
  const charged = receipt?.credits_charged ?? answer.yout?.credits_charged;
  if (charged !== undefined) rows.push([t("Charged"), t("{credits} credits", { credits: formatCount(charged) })]);
  const balance = answer.yout?.balance;
  if (balance !== undefined) {
    rows.push([signedIn ? t("Balance") : t("Remaining today"), t("{credits} credits", { credits: formatCount(balance) })]);
  }
  const input = receipt?.tokens.input ?? answer.usage?.prompt_tokens;
  const output = receipt?.tokens.output ?? answer.usage?.completion_tokens;
  if (input !== undefined) rows.push([t("Input tokens"), formatCount(input)], [t("Output tokens"), formatCount(output)]);
  if (receipt?.tokens.estimated) rows.push([t("Token counts"), t("Estimated, because the provider reported none.")]);
  if (receipt?.channel) rows.push([t("Provider"), receipt.channel]);
  if (receipt?.first_token_ms != null) rows.push([t("First token"), duration(receipt.first_token_ms)]);
  rows.push([t("Duration"), duration(receipt?.duration_ms ?? milliseconds)]);
  if (answer.finishReason) rows.push([t("Finish reason"), answer.finishReason]);
  if (id) rows.push([t("Request ID"), id]);
  byId("receipt").replaceChildren(...rows.flatMap(([name, value]) => {
    const [term, description] = [document.createElement("dt"), document.createElement("dd")];
    term.textContent = name;
    description.textContent = value;
    return [term, description];
  }));
  byId("receipt-link").hidden = !(receipt && signedIn);
  if (receipt) byId("receipt-link").href = `/calls/${id}`;
}

function duration(ms) {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${number.format(ms / 1000)} s`;
}

restore();
update();
root.hidden = false;
form.addEventListener("input", update);
form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (!running) run();
});
form.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
});
byId("add").addEventListener("click", () => {
  const last = messages().at(-1);
  addMessage({ role: last?.role === "user" ? "assistant" : "user" }, true);
  update();
});
byId("stop").addEventListener("click", () => running?.abort());
