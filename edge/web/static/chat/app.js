// The chat: opens the store, shows the conversation that the address names, and connects the parts.
import { t } from "../i18n.js";
import { Announcer } from "./announcer.js";
import { ApiError, listModels, readLimit, signedIn, storedConversation } from "./api.js";
import { readSettings, saveSettings } from "./browser_settings.js";
import { Conversation, newConversation } from "./conversation.js";
import { ConversationView } from "./conversation_view.js";
import { button, create, formatNumber, link, newId } from "./dom.js";
import { creditsText } from "./message_view.js";
import { ModelBar, offeredModels } from "./model_bar.js";
import { requestBody } from "./request_body.js";
import { Scroller } from "./scroll.js";
import { addressedId } from "./start.js";

const LIMIT_AGE_MS = 30_000;
const byId = (id) => document.getElementById(id);

export class App {
  constructor(store, composer) {
    this.store = store;
    this.composer = composer;
    this.announcer = new Announcer(byId("spoken"));
    this.scroller = new Scroller(byId("log"), byId("latest"));
    this.view = new ConversationView(byId("messages"), this.scroller, this.actions());
  }

  async start() {
    byId("new-chat").addEventListener("click", () => this.openNew());
    document.querySelector(".skip").addEventListener("click", (event) => {
      event.preventDefault(); // the fragment names the conversation
      byId("prompt").focus();
    });
    byId("settings").addEventListener("click", () => this.editSettings());
    addEventListener("hashchange", () => { if (!location.hash || addressedId()) this.openFromAddress(); });
    addEventListener("offline", () => this.notify(t("You are offline. What you type is kept in this browser.")));
    addEventListener("online", () => this.notify(""));
    document.addEventListener("visibilitychange", () => { if (!document.hidden) this.refreshLimit(); });
    await this.loadModels();
    this.bar = new ModelBar(byId("models"), this.offered, {
      choose: (current, title) => this.pickModel(current, title),
      changed: (fields) => this.chooseModel(fields),
    });
    await this.openFromAddress();
    this.store.onChange((change) => this.storeChanged(change));
    this.composer.connect({
      submit: (text, attachments) => this.send(text, attachments),
      stop: () => this.conversation.stop(),
      editLast: () => this.editLast(),
      quoteText: (text, attachments, signal) => this.quoteText(text, attachments, signal),
    });
    const limit = await this.refreshLimit(true);
    const { mountExtras } = await import("./extras.js");
    await mountExtras(this, limit);
    byId("chat").dataset.complete = "yes";
  }

  async loadModels() {
    this.catalog = { models: [] };
    try {
      this.catalog = await listModels();
      this.offered = offeredModels(this.catalog.models);
      this.creditsPerUsd = this.catalog.credits_per_usd;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.offered = [];
      this.fail(error);
    }
    this.models = new Map(this.offered.map((model) => [model.id, model]));
  }

  // The model of a new conversation: the last one that was chosen, or the first free one.
  get defaultModel() {
    const { model } = readSettings();
    const usable = this.offered.filter(({ available }) => available);
    return usable.some(({ id }) => id === model) ? model : (usable[0]?.id ?? null);
  }

  // Opening

  async openFromAddress() {
    const stored = new URLSearchParams(location.search).get("conversation");
    if (stored && signedIn) return this.openStored(stored);
    const shared = new URLSearchParams(location.search).get("continue");
    if (shared) return (await import("./extras.js")).continueShare(this, shared);
    const id = addressedId();
    return id ? this.open(id) : this.openNew();
  }

  async open(id) {
    const record = await this.store.conversation(id);
    if (!record) {
      history.replaceState(null, "", "/");
      await this.openNew();
      this.notify(t("This conversation is not in this browser."));
      return;
    }
    await this.showConversation(record, await this.store.messages(id));
    await this.conversation.closeAbandoned();
  }

  // Open a conversation and put it into the address.
  async openById(id) {
    if (id !== this.conversation.record.id) history.pushState(null, "", `/#${id}`);
    return this.open(id);
  }

  // Show what another part of the page has saved.
  async reload(id) {
    const { conversation } = this;
    if (conversation.record.id !== id) return;
    const [fresh, messages] = await Promise.all([this.store.conversation(id), this.store.messages(id)]);
    if (fresh && this.conversation === conversation) conversation.merge(fresh, messages);
  }

  async openNew() {
    if (location.hash || location.search) history.pushState(null, "", "/");
    await this.showConversation(newConversation(this.defaultModel), []);
    this.composer.focus();
  }

  // Copy a conversation that is stored in the account into this browser, and open it.
  async openStored(id) {
    const copied = (await this.store.conversations()).find(({ remote }) => remote?.id === id);
    if (copied) {
      history.replaceState(null, "", `/#${copied.id}`);
      return this.open(copied.id);
    }
    try {
      const stored = await storedConversation(id);
      const record = { ...newConversation(this.defaultModel), title: stored.title };
      let parent = null;
      const messages = stored.messages.filter(({ role }) => role === "user" || role === "assistant").map(({ role, content, model, created }) => {
        const text = typeof content === "string" ? content : content.map((part) => part.text ?? "").join("\n\n");
        const message = { id: newId(), conversation: record.id, parent, role, text, model: model ?? undefined, status: "complete", created_at: Date.parse(created) };
        parent = message.id;
        return message;
      });
      record.leaf = parent;
      record.model = messages.findLast((message) => this.models.get(message.model)?.available)?.model ?? record.model;
      await this.store.importConversation(record, messages);
      history.replaceState(null, "", `/#${record.id}`);
      await this.open(record.id);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      history.replaceState(null, "", "/");
      await this.openNew();
      this.fail(error);
    }
  }

  async showConversation(record, messages) {
    if (this.conversation && record.id !== this.conversation.record.id) this.notify("");
    if (!this.models.get(record.model)?.available) record.model = this.defaultModel;
    const conversation = new Conversation(record, messages, {
      store: this.store,
      models: this.models,
      changed: (kind, run) => { if (this.conversation === conversation) this.conversationChanged(kind, run); else this.backgroundChanged(kind, run); },
    });
    this.conversation = conversation;
    this.conversationChanged("messages");
    this.scroller.toEnd();
    await this.composer.open(conversation.saved ? record.id : "new");
    byId("chat").dispatchEvent(new CustomEvent("conversation", { detail: record }));
  }

  // Changes

  conversationChanged(kind, run) {
    const { conversation } = this;
    if (kind === "text") {
      this.view.grow(run.message);
      this.announcer.follow(run.message.text);
      return;
    }
    this.view.show(conversation);
    this.bar.show(conversation.record);
    byId("welcome").hidden = conversation.path.length > 0;
    byId("settings").classList.toggle("in-use", Boolean(conversation.record.system) || Object.keys(conversation.record.parameters ?? {}).length > 0);
    const { title } = conversation.record;
    document.title = title ? `${title} · yout` : byId("chat").dataset.title;
    this.composer.setRunning(conversation.running);
    this.showStanding();
    if (run && kind === "state") this.ended(run);
    if (run && kind === "settled") {
      this.view.reveal(run.message);
      this.refreshLimit(true);
    }
  }

  backgroundChanged(kind, run) {
    if (run && kind !== "text") this.refreshLimit(true);
  }

  ended(run) {
    const { message } = run;
    if (message.status === "complete") this.announcer.end(message.text, t("Answer complete. {credits}.", { credits: creditsText(message.credits) }));
    else if (message.status === "failed") this.announcer.end(message.text, message.error.message);
    else this.announcer.end(message.text, t("Stopped."));
    if (run.balance !== null && !this.conversation.running) this.setBalance(run.balance);
    if (message.status !== "complete") this.view.reveal(message);
    if (message.error?.code === "sign_in_required") this.sessionEnded();
    else if (message.error?.code === "csrf_failed") this.sessionChanged();
  }

  async storeChanged({ kind, conversation, remote }) {
    const { record } = this.conversation;
    if (kind === "wiped") await this.composer.clear();
    if (kind === "wiped" || (kind === "deleted" && conversation === record.id)) return this.openNew();
    if (conversation !== record.id || !this.conversation.saved) return null;
    if (kind === "message" && !remote) return null;
    const [fresh, messages] = await Promise.all([this.store.conversation(record.id), this.store.messages(record.id)]);
    if (fresh && this.conversation.record.id === record.id && (remote || kind === "conversation")) {
      if (remote) this.conversation.merge(fresh, messages);
      else this.conversation.record.title = fresh.title;
    }
    return null;
  }

  // User actions

  modelsToAsk() {
    const { model, second_model } = this.conversation.record;
    return [model, second_model].filter((id) => id && this.models.get(id)?.available);
  }

  async send(text, attachments) {
    const models = this.modelsToAsk();
    if (!models.length) return this.notify(t("Choose a model first."));
    const { conversation } = this;
    if (conversation.running) return null;
    const isNew = !conversation.saved;
    this.composer.setRunning(true);
    this.scroller.toEnd();
    this.announcer.begin(t("Sent. Waiting for the answer."));
    const answered = conversation.send(text, attachments, models);
    if (isNew) history.pushState(null, "", `/#${conversation.record.id}`);
    await this.composer.clear();
    this.composer.key = conversation.record.id;
    if (isNew) byId("chat").dispatchEvent(new CustomEvent("conversation", { detail: conversation.record }));
    return answered;
  }

  async quoteText(text, attachments, signal) {
    const { record, path } = this.conversation;
    const message = { role: "user", text, attachments };
    const asked = this.modelsToAsk().map((id) => this.models.get(id));
    const calls = await Promise.all(asked.map(async (model) => ({ model, body: await requestBody(record, [...path, message], model) })));
    const { quoteText } = await import("./quote.js");
    return quoteText(calls, signal);
  }

  actions() {
    const again = (work) => {
      if (this.conversation.running) return;
      this.scroller.toEnd();
      this.announcer.begin(t("Sent. Waiting for the answer."));
      work();
      this.composer.focus();
    };
    return {
      retry: (message, model) => again(() => {
        if (model) this.chooseModel({ model });
        this.conversation.retry(message, this.usableModel(model ?? message.model));
      }),
      retryWith: async (message) => {
        const chosen = await this.pickModel(message.model, t("Retry with another model"));
        if (!chosen) return;
        again(() => {
          this.chooseModel({ model: chosen });
          this.conversation.retry(message, chosen);
        });
      },
      edit: (message, text) => again(() => this.conversation.edit(message, text, this.modelsToAsk())),
      walk: (message, step) => this.walk(message, step),
      continueWith: (message) => this.conversation.show(this.conversation.tree.newestLeaf(message.id)),
      signInUrl: () => this.signInUrl(),
    };
  }

  usableModel(id) {
    return this.models.get(id)?.available ? id : this.conversation.record.model;
  }

  async walk(message, step) {
    const leaf = this.conversation.tree.walk(message, step);
    if (!leaf) return;
    const index = this.conversation.path.findIndex(({ id }) => id === message.id);
    await this.conversation.show(leaf);
    const shown = this.view.views.get(this.conversation.path[index]?.id)?.element;
    const target = shown?.querySelector(`.step[data-step="${step}"]:not(:disabled)`) ?? shown?.querySelector(".step:not(:disabled)");
    target?.focus();
  }

  editLast() {
    const last = this.conversation.path.findLast(({ role }) => role === "user");
    if (last && !this.conversation.running) this.view.views.get(last.id)?.edit();
  }

  // Let the user choose a model. Returns its id, or null.
  async pickModel(current, title) {
    if (!this.picker) {
      const { ModelPicker } = await import("./model_picker.js");
      this.picker ??= new ModelPicker(this.offered, this.creditsPerUsd);
    }
    return this.picker.choose(current, title);
  }

  async chooseModel(fields) {
    await this.conversation.saveFields(fields);
    if (fields.model) saveSettings({ model: fields.model });
    this.bar.show(this.conversation.record);
    this.composer.attachments.check();
    this.composer.scheduleQuote();
  }

  async editSettings() {
    const { record } = this.conversation;
    if (!this.settings) {
      const { SettingsDialog } = await import("./parameters.js");
      this.settings ??= new SettingsDialog();
    }
    const saved = await this.settings.edit(record, this.models.get(record.model));
    if (saved) await this.conversation.saveFields(saved);
    this.conversationChanged("messages");
    this.composer.scheduleQuote();
    byId("settings").focus();
  }

  // Balance and notices

  // Show the balance. Returns the answer of the API, or null if there is none.
  async refreshLimit(now = false) {
    if (!now && Date.now() - (this.limitAt ?? 0) < LIMIT_AGE_MS) return null;
    this.limitAt = Date.now();
    try {
      const limit = await readLimit();
      if (signedIn && limit.kind !== "account") this.sessionEnded();
      else this.setBalance(limit.kind === "account" ? limit.balance - limit.held : limit.remaining);
      return limit;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (error.code === "sign_in_required") this.sessionEnded();
      return null;
    }
  }

  setBalance(amount) {
    this.balance = amount;
    this.showStanding();
  }

  showStanding() {
    const amount = this.balance === undefined ? null : formatNumber(this.balance);
    const balance = amount === null ? "" : signedIn ? t("Balance: {amount} credits", { amount }) : t("Remaining today: {amount} credits", { amount });
    byId("balance").textContent = balance;
    const total = this.conversation.tree.totalCredits();
    byId("total").textContent = total ? t("This conversation: {credits}", { credits: creditsText(total) }) : "";
  }

  signInUrl() {
    const { record, saved } = this.conversation;
    return `/sign-in?next=${encodeURIComponent(saved ? `/#${record.id}` : "/")}`;
  }

  sessionEnded() {
    byId("balance").textContent = "";
    this.balance = undefined;
    this.notify(t("You are signed out. Your conversations and what you typed are kept in this browser."), link(this.signInUrl(), t("Sign in")));
  }

  sessionChanged() {
    const reload = button(t("Reload"), async () => {
      await this.composer.saveDraft();
      location.reload();
    }, { class: "small" });
    this.notify(t("You signed in again in another tab. Reload this page to continue here."), reload);
  }

  fail(error) {
    if (error.code === "sign_in_required") this.sessionEnded();
    else this.notify(error.message, button(t("Try again"), () => location.reload(), { class: "small" }));
  }

  notify(text, ...actions) {
    const notice = byId("notice");
    notice.hidden = !text;
    notice.replaceChildren(...(text ? [create("span", { textContent: text }), ...actions] : []));
    return null;
  }
}
