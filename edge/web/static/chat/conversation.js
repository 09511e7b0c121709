// The open conversation: its messages, and the answers that are being generated for it. Independent of the DOM.
import { t } from "../i18n.js";
import { newId } from "./dom.js";
import { requestBody } from "./request_body.js";
import { Run } from "./run.js";
import { Tree } from "./tree.js";

const MAX_TITLE_LENGTH = 60;
const LOCK = "yout-answer-"; // held while an answer is generated, so that other tabs leave its message alone

export function newConversation(model) {
  const now = Date.now();
  return { id: newId(), title: "", created_at: now, updated_at: now, pinned: false, folder: null, model, system: "", parameters: {}, leaf: null };
}

// Runs of this tab by message id: an answer goes on while another conversation is open.
const runs = new Map();

export class Conversation {
  // `models` maps ids to models. `changed(kind, run)` is called with "messages", or with a run's "text", "state" or "settled".
  constructor(record, messages, { store, models, changed }) {
    this.record = record;
    this.tree = new Tree(messages);
    this.store = store;
    this.models = models;
    this.changed = changed;
    this.saved = messages.length > 0;
    this.starting = null; // `{stopped}` while messages are saved before their answers begin
    for (const run of this.runs()) this.adopt(run);
  }

  // Show the message of a run instead of the copy from the store.
  adopt(run) {
    this.tree.put(run.message);
    run.changed = (changedRun, kind) => this.changed(kind, changedRun);
  }

  runs() {
    return [...runs.values()].filter((run) => run.message.conversation === this.record.id);
  }

  isRunning(message) {
    return runs.get(message.id)?.running ?? false;
  }

  get running() {
    return this.starting !== null || this.runs().some((run) => run.running);
  }

  get path() {
    return this.tree.path(this.record.leaf);
  }

  // Add a user message below the shown branch, and answer it with each of `models`.
  send(text, attachments, models) {
    const parent = this.path.at(-1)?.id ?? null;
    return this.answer(() => this.addMessage({ role: "user", parent, text, attachments, status: "complete" }), models);
  }

  // Send a user message again, with another text.
  edit(message, text, models) {
    const { parent, attachments } = message;
    return this.answer(() => this.addMessage({ role: "user", parent, text, attachments, status: "complete" }), models);
  }

  retry(message, model) {
    return this.answer(() => this.tree.get(message.parent), [model]);
  }

  // Generate an answer of each model below the message that `question` returns. Resolves when all of them have ended. Does nothing
  // while the conversation is running: a double click must not be charged twice.
  async answer(question, models) {
    if (this.running) return;
    const starting = { stopped: false };
    this.starting = starting;
    const started = [];
    let path;
    try {
      const message = await question();
      const group = models.length > 1 ? newId() : undefined;
      path = this.tree.path(message.id);
      for (const model of models) {
        const fields = { role: "assistant", parent: message.id, text: "", model, status: "streaming", group };
        const answer = await this.addMessage(fields, started.length === 0);
        const run = new Run({ message: answer, store: this.store, changed: null });
        this.adopt(run);
        runs.set(answer.id, run);
        started.push(run);
      }
    } finally {
      this.starting = null;
    }
    if (starting.stopped) for (const run of started) run.stop();
    this.changed("messages");
    await Promise.all(started.map((run) => this.generate(run, path)));
  }

  async generate(run, path) {
    const { id, model } = run.message;
    const found = this.models.get(model) ?? { id: model };
    try {
      await withLock(LOCK + id, () => run.start(() => requestBody(this.record, path, found)));
    } finally {
      runs.delete(id);
    }
    this.record.updated_at = Date.now();
    await this.saveFields({ updated_at: this.record.updated_at });
  }

  stop() {
    if (this.starting) this.starting.stopped = true;
    for (const run of this.runs()) run.stop();
  }

  async addMessage(fields, isLeaf = true) {
    const message = { id: newId(), conversation: this.record.id, created_at: Date.now(), ...fields };
    this.tree.put(message);
    if (isLeaf) this.record.leaf = message.id;
    this.record.updated_at = message.created_at;
    if (!this.record.title && message.role === "user") this.record.title = titleOf(message);
    if (this.saved) {
      const { title, leaf, updated_at } = this.record;
      await this.saveFields({ title, leaf, updated_at });
    } else {
      this.saved = true;
      await this.store.saveConversation({ ...this.record });
    }
    await this.store.saveMessage({ ...message });
    return message;
  }

  // Show the branch that ends at `leaf`.
  async show(leaf) {
    this.record.leaf = leaf;
    await this.saveFields({ leaf });
    this.changed("messages");
  }

  // Save changed fields, if the conversation has any message yet.
  async saveFields(fields) {
    Object.assign(this.record, fields);
    if (this.saved) await this.store.updateConversation(this.record.id, fields);
  }

  // Merge what another tab saved. Answers that this tab generates are newer here.
  merge(record, messages) {
    const leaf = this.running ? this.record.leaf : record.leaf;
    Object.assign(this.record, record, { leaf });
    for (const message of messages) if (!runs.has(message.id)) this.tree.put(message);
    this.changed("messages");
  }

  // End answers whose tab or browser was closed while they were generated, and read their charges.
  async closeAbandoned() {
    const open = [...this.tree.messages.values()].filter((message) => message.status === "streaming" && !runs.has(message.id));
    const held = await heldLocks();
    for (const message of open) {
      if (held.has(LOCK + message.id)) continue;
      message.status = "failed";
      message.error = { code: "interrupted", message: t("The page was closed before the answer was complete.") };
      const run = new Run({ message, store: this.store, changed: (changedRun, kind) => this.changed(kind, changedRun) });
      run.running = false;
      await run.settle();
    }
  }
}

function titleOf(message) {
  const line = message.text.replace(/\s+/g, " ").trim() || message.attachments?.[0]?.name || t("Conversation");
  return line.length > MAX_TITLE_LENGTH ? `${line.slice(0, MAX_TITLE_LENGTH - 1).trimEnd()}…` : line;
}

// Web Locks exist only on https:// and localhost. Without them, an answer counts as abandoned when its conversation is opened.
async function withLock(name, work) {
  return navigator.locks ? navigator.locks.request(name, work) : work();
}

async function heldLocks() {
  const { held = [] } = (await navigator.locks?.query()) ?? {};
  return new Set(held.map((lock) => lock.name));
}
