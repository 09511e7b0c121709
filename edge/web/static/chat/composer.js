// The message field: its size, its keys, its draft, and the quote beside the send button.
import { t } from "../i18n.js";
import { ApiError, quote, signedIn } from "./api.js";
import { creditsText } from "./message_view.js";
import { readSettings } from "./parameters.js";
import { quoteBody, roughBound } from "./request_body.js";

const DRAFT_DELAY_MS = 250;
const QUOTE_DELAY_MS = 600;
const LEFT_KEY = "yout-chat-left";

export class Composer {
  // `options`: `store`, `submit(text)`, `stop()`, `editLast()`, `bodiesFor(text, attachments)` (the request bodies that sending would
  // make, with their models), `attachments(prompt, changed)` (creates the attachments; see attachments.js).
  constructor(form, options) {
    this.form = form;
    this.options = options;
    this.prompt = form.querySelector("#prompt");
    this.sendButton = form.querySelector("#send");
    this.stopButton = form.querySelector("#stop");
    this.quoteText = form.querySelector("#quote");
    this.attachments = options.attachments(this.prompt, () => this.edited());
    this.key = "new";
    form.addEventListener("submit", (event) => { event.preventDefault(); this.submit(); });
    this.prompt.addEventListener("input", () => this.edited());
    this.prompt.addEventListener("keydown", (event) => this.keyDown(event));
    this.stopButton.addEventListener("click", () => options.stop());
    addEventListener("pagehide", () => this.leave());
    document.addEventListener("visibilitychange", () => { if (document.hidden) this.saveDraft(); });
  }

  get text() {
    return this.prompt.value.trim();
  }

  // Show the draft of a conversation. Text that was typed before the page was ready is kept.
  async open(key) {
    await this.saveDraft();
    this.key = key;
    const left = this.takeLeft(key);
    const draft = { ...(await this.options.store.draft(key)), ...left };
    if (this.key !== key) return;
    if (!this.opened && this.prompt.value) {
      this.opened = true;
      this.attachments.set(draft?.attachments ?? []);
      this.resize();
      return;
    }
    this.opened = true;
    this.prompt.value = draft.text ?? "";
    this.attachments.set(draft.attachments ?? []);
    this.resize();
    this.scheduleQuote();
  }

  // IndexedDB may not finish a write while the page is unloaded, so the text also goes to localStorage, which is synchronous.
  leave() {
    if (!this.draftTimer) return;
    try {
      localStorage.setItem(LEFT_KEY, JSON.stringify({ key: this.key, text: this.prompt.value }));
    } catch { /* storage is blocked */ }
    this.saveDraft();
  }

  takeLeft(key) {
    try {
      const left = JSON.parse(localStorage.getItem(LEFT_KEY));
      localStorage.removeItem(LEFT_KEY);
      return left?.key === key ? { text: left.text } : null;
    } catch {
      return null;
    }
  }

  edited() {
    this.resize();
    clearTimeout(this.draftTimer);
    this.draftTimer = setTimeout(() => this.saveDraft(), DRAFT_DELAY_MS);
    this.scheduleQuote();
  }

  async saveDraft() {
    clearTimeout(this.draftTimer);
    this.draftTimer = null;
    if (!this.opened) return; // the draft is not shown yet
    const draft = { text: this.prompt.value, attachments: this.attachments.items() };
    if (draft.text || draft.attachments.length) await this.options.store.saveDraft(this.key, draft);
    else await this.options.store.deleteDraft(this.key);
  }

  // Empty the field after its text was saved as a message.
  async clear() {
    clearTimeout(this.draftTimer);
    this.draftTimer = null;
    this.prompt.value = "";
    this.attachments.clear();
    this.resize();
    this.showQuote("");
    await this.options.store.deleteDraft(this.key);
  }

  // Insert text at the cursor, with spaces around it, as if it was typed.
  insert(text) {
    const { selectionStart: start, selectionEnd: end, value } = this.prompt;
    const before = start && !/\s$/.test(value.slice(0, start)) ? " " : "";
    const after = end < value.length && !/^\s/.test(value.slice(end)) ? " " : "";
    this.prompt.setRangeText(before + text + after, start, end, "end");
    this.edited();
    this.prompt.focus();
  }

  resize() {
    this.prompt.style.height = "auto";
    this.prompt.style.height = `${this.prompt.scrollHeight + 2}px`;
  }

  keyDown(event) {
    if (event.isComposing) return;
    if (event.key === "Enter" && !event.shiftKey && matchMedia("(hover: hover)").matches) {
      event.preventDefault();
      this.submit();
    } else if (event.key === "ArrowUp" && !this.prompt.value) {
      event.preventDefault();
      this.options.editLast();
    } else if (event.key === "Escape" && !this.stopButton.hidden) this.options.stop();
  }

  submit() {
    if (this.running || (!this.text && !this.attachments.items().length)) return;
    this.options.submit(this.text, this.attachments.items());
  }

  setRunning(running) {
    const hadFocus = document.activeElement === this.stopButton;
    this.running = running;
    this.sendButton.hidden = running;
    this.stopButton.hidden = !running;
    if (hadFocus && !running) this.focus();
    if (!running) this.scheduleQuote();
  }

  // Focus the field. On touch screens this would open the keyboard.
  focus() {
    if (matchMedia("(hover: hover)").matches) this.prompt.focus({ preventScroll: true });
  }

  scheduleQuote() {
    clearTimeout(this.quoteTimer);
    this.quoteCall?.abort();
    if (!this.text || !signedIn) {
      this.showQuote("");
      return;
    }
    this.quoteTimer = setTimeout(() => this.updateQuote().catch(console.error), QUOTE_DELAY_MS);
  }

  // Show what sending may cost, if that can be more than the threshold in the settings.
  async updateQuote() {
    const { quote_threshold: threshold } = readSettings();
    const calls = await this.options.bodiesFor(this.text, this.attachments.items());
    const rough = calls.reduce((sum, { body, model }) => sum + roughBound(body, model), 0);
    if (this.running || !calls.length || rough <= threshold) {
      this.showQuote("");
      return;
    }
    this.quoteCall = new AbortController();
    const { signal } = this.quoteCall;
    try {
      const quotes = await Promise.all(calls.map(({ body }) => quote(quoteBody(body), signal)));
      const sum = (name) => quotes.reduce((total, found) => total + found[name], 0);
      const [worst, typical] = [sum("worst"), sum("typical")];
      if (signal.aborted) return;
      this.showQuote(worst > threshold ? t("About {typical}, at most {worst}", { typical: creditsText(typical), worst: creditsText(worst) }) : "");
    } catch (error) {
      if (error.name === "AbortError") return;
      if (!(error instanceof ApiError)) throw error;
      this.showQuote(error.code === "insufficient_credits" ? t("Costs more than your balance") : "");
    }
  }

  showQuote(text) {
    if (this.quoteText.textContent !== text) this.quoteText.textContent = text;
  }
}
