// The message field: its size, its keys, its draft, and the quote beside the send button. It works before the rest of the chat has
// loaded: then text and files are kept, and what is sent waits for `connect`.

const DRAFT_DELAY_MS = 250;
const QUOTE_DELAY_MS = 600;
const LEFT_KEY = "yout-chat-left";

export class Composer {
  // `opening` is the promise of the store.
  constructor(form, opening) {
    this.form = form;
    this.opening = opening;
    this.prompt = form.querySelector("#prompt");
    this.sendButton = form.querySelector("#send");
    this.stopButton = form.querySelector("#stop");
    this.quoteText = form.querySelector("#quote");
    this.attachments = new HeldFiles();
    this.key = "new";
    this.chat = null;
    this.waiting = false; // sent before `connect`
    form.addEventListener("submit", (event) => { event.preventDefault(); this.submit(); });
    this.prompt.addEventListener("input", () => this.edited());
    this.prompt.addEventListener("keydown", (event) => this.keyDown(event));
    this.stopButton.addEventListener("click", () => this.chat?.stop());
    addEventListener("pagehide", () => this.leave());
    document.addEventListener("visibilitychange", () => { if (document.hidden) this.saveDraft(); });
    this.sendButton.disabled = false;
  }

  // Connect the field to the open conversation. `chat`: `submit(text, attachments)`, `stop()`, `editLast()`, and
  // `quoteText(text, attachments, signal)`.
  connect(chat) {
    this.chat = chat;
    this.scheduleQuote();
    if (!this.waiting) return;
    this.waiting = false;
    this.prompt.readOnly = false;
    this.submit();
  }

  // Show the files of the draft with `attachments` (attachments.js).
  useAttachments(attachments) {
    attachments.set(this.attachments.items());
    this.attachments = attachments;
  }

  get text() {
    return this.prompt.value.trim();
  }

  // Show the draft of a conversation. Text that was typed before the page was ready is kept.
  async open(key) {
    if (this.opened && this.key === key) return;
    await this.saveDraft();
    this.key = key;
    const store = await this.opening;
    const left = this.takeLeft(key);
    const draft = { ...(await store.draft(key)), ...left };
    if (this.key !== key) return;
    if (!this.opened && this.prompt.value) {
      this.opened = true;
      this.attachments.set(draft.attachments ?? []);
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
    const { key } = this;
    const store = await this.opening;
    if (draft.text || draft.attachments.length) await store.saveDraft(key, draft);
    else await store.deleteDraft(key);
  }

  // Empty the field after its text was saved as a message.
  async clear() {
    clearTimeout(this.draftTimer);
    this.draftTimer = null;
    this.prompt.value = "";
    this.attachments.clear();
    this.resize();
    this.showQuote("");
    const { key } = this;
    await (await this.opening).deleteDraft(key);
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
      this.chat?.editLast();
    } else if (event.key === "Escape" && !this.stopButton.hidden) this.chat?.stop();
  }

  submit() {
    if (this.running || (!this.text && !this.attachments.items().length)) return;
    if (this.chat) this.chat.submit(this.text, this.attachments.items());
    else this.waiting = this.prompt.readOnly = true;
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
    if (!this.text || !this.chat) {
      this.showQuote("");
      return;
    }
    this.quoteTimer = setTimeout(() => this.updateQuote().catch(console.error), QUOTE_DELAY_MS);
  }

  async updateQuote() {
    this.quoteCall = new AbortController();
    const { signal } = this.quoteCall;
    try {
      const text = this.running ? "" : await this.chat.quoteText(this.text, this.attachments.items(), signal);
      if (!signal.aborted) this.showQuote(text);
    } catch (error) {
      if (error.name !== "AbortError") throw error;
    }
  }

  showQuote(text) {
    if (this.quoteText.textContent !== text) this.quoteText.textContent = text;
  }
}

// Keeps the files of a draft until attachments.js has loaded, which shows them.
class HeldFiles {
  files = [];

  items() {
    return this.files;
  }

  set(files) {
    this.files = files;
  }

  clear() {
    this.files = [];
  }

  check() {}
}
