// A copy of the conversations on the server, if the user turns it on and the plan stores content.
//
// A conversation's `remote` identifies its copy: `{account, id, updated, digest}` (`updated` is null before it is first stored), or
// `{account, gone: true}` after the copy was deleted elsewhere; then it stays in this browser only. The copy has all
// branches, and a merge adds to them, so nothing is lost if two devices write at the same time. Its main branch is the one shown last.
import { t } from "../i18n.js";
import { ApiError, call } from "./api.js";
import { closeButton, openDialog } from "./dialogs.js";
import { button, create, timeElement } from "./dom.js";
import { digestOf, mergeStored, storedForm, timedId } from "./sync_branch.js";

const CHANGE_DELAY_MS = 2000;
const INTERVAL_MS = 60_000;
const PAGE = 100;
const LOCK = "yout-chat-sync";
const AGAIN = new Set(["conversation_changed", "not_found"]); // another device changed the copy first; the next run merges it
const PATH = "/api/chat/conversations/";

export class Sync {
  // `limit` is the answer of `GET /api/chat/limit/`, of an account. `pulled(id)` is called after a conversation was changed from its copy.
  constructor(store, limit, pulled) {
    this.store = store;
    this.pulled = pulled;
    this.account = limit.account;
    this.allowed = limit.plan?.stores_content === true;
    this.isOn = false;
    this.problem = "";
    this.finishedAt = null;
    this.copies = new Map(); // id of a conversation → id of its copy, also after it was deleted
    this.listeners = new Set();
  }

  /** Begin, if it was switched on in this browser for this account. */
  async start() {
    this.store.onChange((change) => this.changed(change));
    addEventListener("online", () => this.schedule(0));
    document.addEventListener("visibilitychange", () => document.hidden || this.schedule(0));
    setInterval(() => document.hidden || this.schedule(0), INTERVAL_MS);
    await this.readSetting();
    this.schedule(0);
  }

  async readSetting() {
    const setting = await this.store.setting("sync");
    this.isOn = this.allowed && setting?.account === this.account;
    this.notify();
  }

  onState(callback) {
    this.listeners.add(callback);
  }

  notify() {
    for (const listener of this.listeners) listener();
  }

  async changed({ kind, conversation, id, remote }) {
    if (kind === "setting" && id === "sync" && remote) return this.readSetting();
    if (kind === "wiped") {
      this.isOn = false;
      this.copies.clear();
      return this.notify();
    }
    if (!this.isOn || kind === "draft" || kind === "setting" || conversation === this.saving) return null;
    if (kind === "deleted" && this.copies.has(conversation)) await this.forget([this.copies.get(conversation)]);
    return this.schedule(CHANGE_DELAY_MS);
  }

  /** Remember copies to delete, until the server has deleted them. */
  async forget(ids) {
    const waiting = await this.store.setting("sync_deleted", []);
    await this.store.saveSetting("sync_deleted", [...new Set([...waiting, ...ids])]);
  }

  schedule(delay) {
    if (!this.isOn) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.run(), delay);
  }

  /** Bring browser and server to the same state. Only one tab does it at a time. */
  async run() {
    if (this.running) {
      this.again = true;
      return;
    }
    this.running = true;
    this.again = false;
    try {
      if (navigator.locks) await navigator.locks.request(LOCK, { ifAvailable: true }, (lock) => lock && this.exchange());
      else await this.exchange();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (error.code === "rate_limit_exceeded") this.again = true;
      else this.problem = error.message;
    } finally {
      this.running = false;
      this.notify();
    }
    if (this.again) this.schedule(CHANGE_DELAY_MS);
  }

  async exchange() {
    this.problem = "";
    await this.deleteForgotten();
    const copies = await this.listCopies();
    let problem = "";
    const known = new Set();
    for (const { id } of await this.store.conversations()) {
      if (!this.isOn) return;
      const conversation = await this.store.conversation(id); // as it is now
      const { remote } = conversation ?? {};
      if (remote?.id) known.add(remote.id);
      if (!conversation || remote?.gone || (remote && remote.account !== this.account)) continue;
      try {
        await this.exchangeOne(conversation, copies);
      } catch (error) {
        const aboutThis = error instanceof ApiError && (AGAIN.has(error.code) || error.status === 400 || error.status === 413);
        if (!aboutThis) throw error;
        if (AGAIN.has(error.code)) this.again = true;
        else problem = t("“{title}” was not synced: {message}", { title: conversation.title, message: error.message });
      }
    }
    for (const copy of copies.values()) if (this.isOn && !known.has(copy.id)) await this.adopt(copy);
    this.problem = problem;
    this.finishedAt = Date.now();
  }

  async exchangeOne(conversation, copies) {
    if (!conversation.remote) {
      // The id is saved first: if the answer is lost, the next run finds the copy under it.
      conversation.remote = { account: this.account, id: timedId(conversation.created_at), updated: null, digest: null };
      await this.save(conversation.id, { remote: conversation.remote });
    }
    const { remote } = conversation;
    this.copies.set(conversation.id, remote.id);
    const copy = copies.get(remote.id);
    if (copy && copy.updated !== remote.updated) return this.pull(conversation, copy);
    if (copy || remote.updated === null) return this.push(conversation);
    return this.save(conversation.id, { remote: { account: this.account, gone: true } });
  }

  /** Store what this browser shows, if it changed since the last time. */
  async push(conversation) {
    const messages = await this.store.messages(conversation.id);
    const form = await storedForm(conversation, messages);
    if (!form) return;
    const digest = digestOf(form);
    const { remote } = conversation;
    if (remote.digest === digest) return;
    const send = (content) => call(`${PATH}${remote.id}/`, { method: "PUT", body: { ...content, updated: remote.updated } });
    const smaller = [{ files: false }, { files: false, branches: false }];
    let copy;
    for (let next = form; !copy; ) {
      try {
        copy = await send(next);
      } catch (error) {
        if (error.code !== "request_too_large" || !smaller.length) throw error;
        next = await storedForm(conversation, messages, smaller.shift());
      }
    }
    await this.save(conversation.id, { remote: { account: this.account, id: copy.id, updated: copy.updated, digest } });
  }

  /** Merge a copy that another device changed, then store what this browser has in addition. */
  async pull(conversation, copy) {
    const messages = await this.store.messages(conversation.id);
    const { remote } = conversation;
    const mine = await storedForm(conversation, messages);
    if (!mine) return; // an answer is being generated
    const stored = await this.readCopy(copy.id);
    const { added, leaf, system } = await mergeStored(conversation.id, messages, stored.messages);
    const unchangedHere = digestOf(mine) === remote.digest;
    for (const message of added) await this.saveMessage(message);
    const shown = unchangedHere ? { leaf, title: stored.title || conversation.title, system, updated_at: Date.parse(stored.updated) } : {};
    const merged = { ...conversation, ...shown };
    const form = await storedForm(merged, [...messages, ...added]);
    const next = { account: this.account, id: copy.id, updated: stored.updated, digest: unchangedHere ? digestOf(form) : remote.digest };
    await this.save(conversation.id, { ...shown, remote: next });
    this.pulled(conversation.id);
    if (!unchangedHere) await this.push({ ...merged, remote: next });
  }

  /** Copy a conversation of another device into this browser. */
  async adopt({ id, created }) {
    const stored = await this.readCopy(id);
    const conversation = { id, title: stored.title, created_at: Date.parse(created), updated_at: Date.parse(stored.updated), pinned: false, folder: "", model: null, system: "", parameters: {}, leaf: null };
    const { added, leaf, system } = await mergeStored(id, [], stored.messages);
    if (!added.length || !this.isOn) return; // everything may have been deleted meanwhile
    Object.assign(conversation, { leaf, system, model: added.findLast(({ model }) => model)?.model ?? null });
    conversation.remote = { account: this.account, id, updated: stored.updated, digest: digestOf(await storedForm(conversation, added)) };
    this.copies.set(id, id);
    this.saving = id;
    await this.store.importConversation(conversation, added);
    this.saving = null;
  }

  async save(id, changes) {
    this.saving = id;
    await this.store.updateConversation(id, changes);
    this.saving = null;
  }

  async saveMessage(message) {
    this.saving = message.conversation;
    await this.store.saveMessage(message);
    this.saving = null;
  }

  async listCopies() {
    const found = new Map();
    for (let after = ""; ; ) {
      const { conversations, next } = await call(`${PATH}?limit=${PAGE}${after && `&after=${after}`}`);
      for (const copy of conversations) found.set(copy.id, copy);
      if (!next) return found;
      after = next;
    }
  }

  async readCopy(id) {
    const whole = await call(`${PATH}${id}/?branches=true`);
    for (let { next } = whole; next !== null; ) {
      const page = await call(`${PATH}${id}/?branches=true&start=${next}`);
      whole.messages.push(...page.messages);
      next = page.next;
    }
    return whole;
  }

  async deleteForgotten() {
    const waiting = await this.store.setting("sync_deleted", []);
    for (const id of waiting) {
      await deleteCopy(id);
      const left = await this.store.setting("sync_deleted", []);
      await this.store.saveSetting("sync_deleted", left.filter((other) => other !== id));
    }
  }

  // Turning it on and off.

  async switchOn() {
    await this.store.saveSetting("sync", { account: this.account });
    this.isOn = true;
    this.notify();
    await this.run();
  }

  /** Switch off. With `deleteCopies`, the copies on the server are deleted. Raises `ApiError`; then it is off, but copies may remain. */
  async switchOff(deleteCopies) {
    clearTimeout(this.timer);
    this.isOn = false;
    await this.store.saveSetting("sync", null);
    for (const { id, remote } of await this.store.conversations()) {
      if (remote?.account !== this.account) continue;
      if (deleteCopies && remote.id) await deleteCopy(remote.id);
      await this.store.updateConversation(id, { remote: null });
    }
    this.copies.clear();
    this.problem = "";
    this.finishedAt = null;
    this.notify();
  }

  /** A sentence about what deleting a conversation does on the server; "" if nothing. */
  deletionText({ remote }) {
    return this.isOn && remote?.id && remote.account === this.account ? t("Its copy on the server is deleted, too.") : "";
  }

  openDialog() {
    const body = create("div", {});
    const show = () => body.replaceChildren(...(this.isOn ? this.onNodes(show) : this.offNodes(show)));
    this.listeners.add(show);
    show();
    openDialog(t("Sync"), [body], { closed: () => this.listeners.delete(show) });
  }

  offNodes(show) {
    const problem = create("p", { class: "wrong", role: "alert", textContent: this.problem, hidden: !this.problem });
    const on = button(t("Turn on sync"), () => this.switchOn().then(show), { class: "primary" });
    return [
      create("p", { textContent: t("Your conversations are in this browser only. With sync, the server stores a copy of each in your account, and you can open them on other devices where you are signed in.") }),
      create("p", { class: "soft", textContent: t("The copy has all messages of a conversation, with earlier versions and files. Folders and pins stay in this browser. The server can read the copies. You can delete them at any time.") }),
      problem,
      create("div", { class: "buttons" }, on, closeButton()),
    ];
  }

  onNodes(show) {
    const state = create("p", { role: "status" });
    if (this.problem) state.textContent = this.problem;
    else if (this.finishedAt) state.append(t("Sync is on. Last synced:"), " ", timeElement(this.finishedAt));
    else state.textContent = t("Sync is on. Synchronizing…");
    const off = async (deleteCopies) => {
      try {
        await this.switchOff(deleteCopies);
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
        this.problem = t("Sync is off, but not every copy was deleted: {message} Delete the rest under Conversations in your account.", { message: error.message });
      }
      show();
    };
    return [
      state,
      create("p", { class: "soft", textContent: t("To stop, choose what happens to the copies on the server. The conversations in this browser stay.") }),
      create(
        "div",
        { class: "buttons" },
        button(t("Turn off and delete the copies"), () => off(true), { class: "danger" }),
        button(t("Turn off and keep the copies"), () => off(false)),
        closeButton(t("Close")),
      ),
    ];
  }
}

async function deleteCopy(id) {
  try {
    await call(`${PATH}${id}/`, { method: "DELETE" });
  } catch (error) {
    if (error.code !== "not_found") throw error; // deleted already
  }
}
