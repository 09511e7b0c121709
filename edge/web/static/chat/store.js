// The chat's conversations, messages, drafts and settings, in this browser's IndexedDB.
//
// A save is visible to reads at once and is written to disk in the background. What cannot be written (storage full, blocked, private
// mode) stays in memory, `status` says so, and every later save tries again. Nothing is dropped without a word.
//
// conversation  {id, title, created_at, updated_at, pinned, folder, model, system, parameters, leaf}
// message       {id, conversation, parent, role, text, reasoning?, attachments?: [{name, type, bytes: Blob}], model?, status, error?,
//                request_id?, credits?, finish_reason?, created_at}
// Ids are UUIDs, times are milliseconds since 1970.

const DATABASE = "yout-chat";
const CHANNEL = "yout-chat";
const VERSION = 1;
const KEYS = { conversations: "id", messages: "id", drafts: "conversation", settings: "name" };
const OPEN_MS = 5000; // another tab can hold an old version open; do not wait forever
const BATCH = 500; // messages per read of a search
const EXCERPT_BEFORE = 30; // characters of an excerpt before and after the found word
const EXCERPT_AFTER = 90;

/** Open the store. Without IndexedDB it works in memory, and `status.problem` is "unavailable". */
export async function openStore({ indexedDB = allowed(() => globalThis.indexedDB), openMs = OPEN_MS } = {}) {
  const store = new Store(indexedDB, openMs);
  await store.ready();
  return store;
}

// The result of `get`, or null if the browser throws because it forbids storage.
function allowed(get) {
  try {
    return get();
  } catch {
    return null;
  }
}

/** Lower-case text without accents, for searching. */
export function fold(text) {
  return text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
}

/** The text around the first of the `words` (folded) in `text`, on one line, or "" if it has none of them. */
export function excerpt(text, words) {
  const line = text.replace(/\s+/g, " ").trim();
  const folded = fold(line);
  const found = words.map((word) => folded.indexOf(word)).filter((at) => at >= 0);
  if (!found.length) return "";
  const at = Math.min(...found);
  const [start, end] = [Math.max(0, at - EXCERPT_BEFORE), at + EXCERPT_AFTER];
  return `${start ? "…" : ""}${line.slice(start, end).trim()}${end < line.length ? "…" : ""}`;
}

class Store {
  #indexedDB;
  #openMs;
  #database = null; // promise of the open database, or of null if there is none
  #pending = new Map(); // "table/key" → {table, key, value?, changes?, deleted?}: not yet on disk
  #flushing = Promise.resolve();
  #deleted = new Set(); // ids of conversations deleted in any tab: a late save must not bring them back
  #saved = new Set(); // ids of conversations saved in this tab
  #listeners = new Set();
  #statusListeners = new Set();
  #channel = null;
  #status = { problem: null, unsaved: 0 };

  constructor(indexedDB, openMs) {
    this.#indexedDB = indexedDB;
    this.#openMs = openMs;
    this.#channel = globalThis.BroadcastChannel ? allowed(() => new BroadcastChannel(CHANNEL)) : null;
    if (this.#channel) {
      this.#channel.onmessage = (event) => this.#receive(event.data);
      this.#channel.unref?.(); // in Node, where tests run, it must not keep the process alive
    }
  }

  /** Wait until the database is open or known to be unavailable. */
  async ready() {
    await this.#open();
  }

  /** `{problem, unsaved}`: problem is null, "unavailable", "full" or "failed"; `unsaved` counts records that are only in memory. */
  get status() {
    return { ...this.#status };
  }

  /** Call `callback(status)` at each change of the status; returns a function that ends it. */
  onStatus(callback) {
    this.#statusListeners.add(callback);
    return () => this.#statusListeners.delete(callback);
  }

  /**
   * Call `callback({kind, conversation?, id?, remote})` after each change in this tab and, with `remote: true`, in others; returns a
   * function that ends it. `kind` is "conversation", "message", "deleted", "draft", "setting" or "wiped".
   */
  onChange(callback) {
    this.#listeners.add(callback);
    return () => this.#listeners.delete(callback);
  }

  /** All conversations, the last changed one first. */
  async conversations() {
    const rows = await this.#all("conversations");
    return rows.sort((a, b) => b.updated_at - a.updated_at);
  }

  async conversation(id) {
    return this.#get("conversations", id);
  }

  /** Save a new conversation, or replace one. To change single fields, use `updateConversation`: other tabs may change others. */
  async saveConversation(conversation) {
    if (this.#deleted.has(conversation.id)) return;
    this.#saved.add(conversation.id);
    await this.#write([{ table: "conversations", key: conversation.id, value: conversation }]);
    this.#announce({ kind: "conversation", conversation: conversation.id });
  }

  /** Change single fields, and nothing if the conversation does not exist. */
  async updateConversation(id, changes) {
    if (this.#deleted.has(id)) return;
    await this.#write([{ table: "conversations", key: id, changes }]);
    this.#announce({ kind: "conversation", conversation: id });
  }

  /** A conversation's messages of all branches, oldest first. */
  async messages(conversation) {
    const rows = await this.#all("messages", conversation);
    return rows.sort((a, b) => a.created_at - b.created_at);
  }

  /** Save a message of a saved conversation. It is ignored if the conversation has been deleted, also in another tab. */
  async saveMessage(message) {
    if (this.#deleted.has(message.conversation)) return;
    await this.#write([{ table: "messages", key: message.id, value: message }]);
    this.#announce({ kind: "message", conversation: message.conversation, id: message.id });
  }

  /** Save a conversation with all its messages at once. */
  async importConversation(conversation, messages) {
    this.#deleted.delete(conversation.id);
    this.#saved.add(conversation.id);
    const rows = messages.map((message) => ({ table: "messages", key: message.id, value: message }));
    await this.#write([{ table: "conversations", key: conversation.id, value: conversation }, ...rows]);
    this.#announce({ kind: "conversation", conversation: conversation.id });
  }

  /** Delete a conversation with its messages and draft. */
  async deleteConversation(id) {
    this.#deleted.add(id);
    await this.#remove([id]);
    this.#announce({ kind: "deleted", conversation: id });
  }

  /** `[{conversation, excerpt}]` of those that contain every word in title or messages, last changed first. Works offline. */
  async search(text) {
    const words = fold(text).split(/\s+/).filter(Boolean);
    const conversations = await this.conversations();
    if (!words.length) return conversations.map((conversation) => ({ conversation, excerpt: "" }));
    const found = new Map(); // conversation id → {words found, excerpt}
    for (const { id, title } of conversations) {
      const folded = fold(title ?? "");
      found.set(id, { words: new Set(words.filter((word) => folded.includes(word))), excerpt: "" });
    }
    for await (const message of this.#everyMessage()) {
      const state = found.get(message.conversation);
      if (!state) continue;
      const folded = fold(message.text ?? "");
      const here = words.filter((word) => folded.includes(word));
      for (const word of here) state.words.add(word);
      if (here.length && !state.excerpt) state.excerpt = excerpt(message.text, here);
    }
    return conversations
      .filter(({ id }) => found.get(id).words.size === new Set(words).size)
      .map((conversation) => ({ conversation, excerpt: found.get(conversation.id).excerpt }));
  }

  /** Save what is typed but not sent: `{text, attachments}` of a conversation, or of "new". */
  async saveDraft(conversation, { text = "", attachments = [] }) {
    if (this.#deleted.has(conversation)) return;
    const value = { conversation, text, attachments, updated_at: Date.now() };
    await this.#write([{ table: "drafts", key: conversation, value }]);
    this.#announce({ kind: "draft", conversation });
  }

  async draft(conversation) {
    return this.#get("drafts", conversation);
  }

  async deleteDraft(conversation) {
    await this.#write([{ table: "drafts", key: conversation, deleted: true }]);
    this.#announce({ kind: "draft", conversation });
  }

  /** A setting of this browser, such as the sync switch; `fallback` if it was never saved. */
  async setting(name, fallback = undefined) {
    return (await this.#get("settings", name))?.value ?? fallback;
  }

  async saveSetting(name, value) {
    await this.#write([{ table: "settings", key: name, value: { name, value } }]);
    this.#announce({ kind: "setting", id: name });
  }

  /** Delete everything, in all tabs. Throws if the browser refuses; then nothing is deleted. */
  async wipe() {
    const ids = new Set([...(await this.#all("conversations")).map((row) => row.id), ...this.#saved]);
    await this.#flushing;
    const database = await this.#open();
    if (database) {
      const transaction = database.transaction(Object.keys(KEYS), "readwrite");
      for (const table of Object.keys(KEYS)) transaction.objectStore(table).clear();
      await finished(transaction);
    }
    this.#pending.clear();
    for (const id of ids) this.#deleted.add(id);
    this.#setProblem(database ? null : "unavailable");
    this.#announce({ kind: "wiped", ids: [...ids] });
  }

  /** Ask the browser not to evict our data when disk space runs low. Returns whether it agreed. */
  async requestPersistence() {
    try {
      return (await navigator.storage.persisted()) || (await navigator.storage.persist());
    } catch {
      return false; // an old browser, or an insecure origin
    }
  }

  /** Wait until everything saved so far is on disk, or known to be impossible to write. */
  async flushed() {
    await this.#flushing;
  }

  /** Close the database and the channel to other tabs. */
  async close() {
    await this.#flushing;
    (await this.#database)?.close();
    this.#database = Promise.resolve(null);
    this.#channel?.close();
    this.#channel = null;
  }

  // Reading: what is on disk, with pending changes applied.

  async #get(table, key) {
    const change = this.#pending.get(`${table}/${key}`);
    if (change && !change.changes) return change.deleted ? undefined : structuredClone(change.value);
    const row = await this.#read(table, (rows) => rows.get(key), undefined);
    return row && change ? { ...row, ...change.changes } : row;
  }

  async #all(table, conversation) {
    const stored = await this.#read(
      table,
      (rows) => (conversation === undefined ? rows.getAll() : rows.index("conversation").getAll(conversation)),
      [],
    );
    return this.#withPending(table, stored, conversation);
  }

  #withPending(table, stored, conversation) {
    const rows = new Map(stored.map((row) => [row[KEYS[table]], row]));
    for (const change of this.#pending.values()) {
      if (change.table !== table) continue;
      if (conversation !== undefined && !change.deleted && change.value?.conversation !== conversation) continue;
      const row = rows.get(change.key);
      if (change.deleted) rows.delete(change.key);
      else if (!change.changes) rows.set(change.key, structuredClone(change.value));
      else if (row) rows.set(change.key, { ...row, ...change.changes });
    }
    return [...rows.values()];
  }

  async *#everyMessage() {
    let last = null;
    for (;;) {
      const range = last === null ? null : IDBKeyRange.lowerBound(last, true);
      const rows = await this.#read("messages", (messages) => messages.getAll(range, BATCH), []);
      for (const row of rows) if (!this.#pending.has(`messages/${row.id}`)) yield row;
      if (rows.length < BATCH) break;
      last = rows.at(-1).id;
    }
    yield* this.#withPending("messages", []);
  }

  async #read(table, ask, none) {
    const database = await this.#open();
    if (!database) return none;
    try {
      return await answered(ask(database.transaction(table).objectStore(table)));
    } catch (error) {
      if (await this.#reopened(error)) return this.#read(table, ask, none);
      this.#setProblem("failed");
      return none;
    }
  }

  // Writing: into `pending`, from there to disk, one transaction at a time.

  async #write(changes) {
    for (const change of changes) this.#addPending(change);
    this.#flushing = this.#flushing.then(() => this.#flush());
    await this.#flushing;
  }

  #addPending(change) {
    const name = `${change.table}/${change.key}`;
    const earlier = this.#pending.get(name);
    if (change.value !== undefined) this.#pending.set(name, { ...change, value: structuredClone(change.value) });
    else if (!change.changes || !earlier) this.#pending.set(name, change);
    else if (earlier.changes) this.#pending.set(name, { ...change, changes: { ...earlier.changes, ...change.changes } });
    else if (!earlier.deleted) this.#pending.set(name, { ...earlier, value: { ...earlier.value, ...change.changes } });
  }

  async #flush() {
    const changes = [...this.#pending.entries()];
    if (!changes.length) return;
    const database = await this.#open();
    if (!database) return this.#setProblem(this.#status.problem ?? "unavailable");
    let problem = await this.#store(database, changes);
    if (problem === "full" && changes.length > 1) {
      // One large attachment must not keep the others from being saved.
      problem = null;
      for (const change of changes) problem = (await this.#store(database, [change])) ?? problem;
    }
    this.#setProblem(problem);
  }

  /** Write changes in one transaction; returns null, or the problem. */
  async #store(database, changes) {
    try {
      const transaction = database.transaction(["conversations", "messages", "drafts", "settings"], "readwrite");
      const done = finished(transaction);
      for (const [, change] of changes) apply(transaction, change);
      // A draft may be saved while the page is closed, which loses uncommitted writes. Other changes commit after their reads.
      if (changes.every(([, { table, changes: fields }]) => table === "drafts" && !fields)) transaction.commit?.();
      await done;
    } catch (error) {
      const reopened = await this.#reopened(error);
      if (reopened) return this.#store(reopened, changes);
      return error?.name === "QuotaExceededError" ? "full" : "failed";
    }
    for (const [name, change] of changes) if (this.#pending.get(name) === change) this.#pending.delete(name);
    return null;
  }

  async #remove(ids) {
    for (const [name, change] of this.#pending) {
      if (ids.includes(change.value?.conversation ?? change.key)) this.#pending.delete(name);
    }
    const rows = (await Promise.all(ids.map((id) => this.#all("messages", id)))).flat();
    await this.#write([
      ...ids.map((id) => ({ table: "conversations", key: id, deleted: true })),
      ...ids.map((id) => ({ table: "drafts", key: id, deleted: true })),
      ...rows.map((row) => ({ table: "messages", key: row.id, deleted: true })),
    ]);
  }

  // The database.

  async #open() {
    this.#database ??= this.#connect();
    return this.#database;
  }

  async #connect() {
    try {
      if (!this.#indexedDB) throw new Error("no IndexedDB");
      const database = await opened(this.#indexedDB, this.#openMs);
      const forget = () => (this.#database = null); // opened again when next needed
      database.onclose = forget;
      database.onversionchange = () => {
        database.close();
        forget();
      };
      return database;
    } catch {
      this.#setProblem("unavailable");
      return null;
    }
  }

  /** After an error because the connection was closed, the new connection; otherwise null. */
  async #reopened(error) {
    if (error?.name !== "InvalidStateError") return null;
    this.#database = null;
    return this.#open();
  }

  #setProblem(problem) {
    const unsaved = problem ? this.#pending.size : 0;
    if (problem === this.#status.problem && unsaved === this.#status.unsaved) return;
    this.#status = { problem, unsaved };
    for (const listener of this.#statusListeners) listener(this.status);
  }

  // Other tabs.

  #announce(change) {
    this.#channel?.postMessage(change);
    this.#notify({ ...change, remote: false });
  }

  async #receive(change) {
    const ids = change.kind === "deleted" ? [change.conversation] : change.kind === "wiped" ? [...change.ids, ...this.#saved] : [];
    if (change.kind === "wiped") this.#pending.clear();
    for (const id of ids) this.#deleted.add(id);
    // A save of this tab may have been under way when the other tab deleted the conversation.
    if (ids.length) await this.#remove([...new Set(ids)]);
    this.#notify({ ...change, remote: true });
  }

  #notify(change) {
    for (const listener of this.#listeners) listener(change);
  }
}

function apply(transaction, { table, key, value, changes, deleted }) {
  const rows = transaction.objectStore(table);
  if (deleted) rows.delete(key);
  else if (changes) {
    rows.get(key).onsuccess = ({ target }) => target.result && rows.put({ ...target.result, ...changes });
  } else if (table !== "messages") rows.put(value);
  else {
    const conversation = transaction.objectStore("conversations").getKey(value.conversation);
    conversation.onsuccess = () => conversation.result !== undefined && rows.put(value);
  }
}

function opened(indexedDB, openMs) {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(DATABASE, VERSION);
    const timer = setTimeout(() => reject(new Error("timeout")), openMs);
    request.onupgradeneeded = () => {
      for (const [name, keyPath] of Object.entries(KEYS)) {
        const rows = request.result.createObjectStore(name, { keyPath });
        if (name === "messages") rows.createIndex("conversation", "conversation");
      }
    };
    request.onsuccess = () => {
      clearTimeout(timer);
      resolve(request.result);
    };
    request.onerror = () => {
      clearTimeout(timer);
      reject(request.error);
    };
  });
}

function answered(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

function finished(transaction) {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error ?? new Error("aborted"));
    // `error` is followed by `abort`, whose error says whether the quota was the reason.
  });
}
