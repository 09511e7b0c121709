// The dialog "Delete everything": deletes the data in this browser and, for an account, on the server, and shows the certificate.
import { t, tn } from "../i18n.js";
import { ApiError, call } from "./api.js";
import { closeButton, openDialog } from "./dialogs.js";
import { button, create, formatNumber } from "./dom.js";
import { download } from "./transfer.js";

const POLL_MS = 1000;

/** Open the dialog. `options`: `store`, `signedIn`, and `before()`, which stops what is running. */
export async function openDeleteEverything({ store, signedIn, before = () => {} }) {
  const count = (await store.conversations()).length;
  const confirmation = t("delete");
  const input = create("input", { id: "delete-confirm", autocomplete: "off", autocapitalize: "none", spellcheck: false });
  const go = button(t("Delete everything"), () => new Deletion(dialog, { store, signedIn, before }).start(), { class: "danger", disabled: true });
  input.addEventListener("input", () => (go.disabled = input.value.trim().toLowerCase() !== confirmation));
  const form = create(
    "form",
    { on: { submit: (event) => { event.preventDefault(); if (!go.disabled) go.click(); } } },
    create("div", { class: "field" }, create("label", { htmlFor: input.id, textContent: t("Type “{word}” to confirm", { word: confirmation }) }), input),
    create("div", { class: "buttons" }, go, closeButton()),
  );
  const dialog = openDialog(t("Delete everything"), [...explanation(count, signedIn), form]);
  input.focus();
}

function explanation(count, signedIn) {
  const browser = create("li", {}, create("b", { textContent: t("In this browser") }), create("span", {
    textContent: tn(
      "{count} conversation with all messages and files, drafts, folders, and the settings of the chat.",
      "{count} conversations with all messages and files, drafts, folders, and the settings of the chat.",
      count,
    ),
  }));
  if (!signedIn) {
    return [
      create("p", { textContent: t("This deletes, permanently:") }),
      create("ul", { class: "delete-parts" }, browser),
      create("p", { class: "soft", textContent: t("The server stores no conversations of yours, because you are not signed in.") }),
    ];
  }
  const server = create("li", {}, create("b", { textContent: t("On the server") }), create("span", {
    textContent: t("Synced and stored conversations, stored responses, shares, media, and the records of your calls. You get a signed certificate of what was deleted."),
  }));
  const rest = create("li", {}, create("b", { textContent: t("What is kept") }), create("span", {
    textContent: t("Your account with its keys, plan, balance and payments. You stay signed in. Other browsers keep their own conversations."),
  }));
  return [create("p", { textContent: t("This deletes, permanently:") }), create("ul", { class: "delete-parts" }, browser, server, rest)];
}

class Deletion {
  constructor(dialog, options) {
    this.dialog = dialog;
    this.options = options;
    this.heading = dialog.querySelector("h2");
    this.state = create("p", { role: "status" });
    this.body = create("div", {});
    dialog.replaceChildren(this.heading, this.state, this.body);
  }

  async start() {
    this.dialog.addEventListener("cancel", this.keepOpen);
    this.body.replaceChildren();
    this.options.before();
    const wiped = this.browserDone || (await this.wipeBrowser());
    if (wiped && this.options.signedIn) await this.purgeServer();
    else if (wiped) this.finish(t("Everything in this browser was deleted."));
    this.dialog.removeEventListener("cancel", this.keepOpen);
  }

  keepOpen = (event) => event.preventDefault();

  async wipeBrowser() {
    this.state.textContent = t("Deleting everything in this browser…");
    try {
      await this.options.store.wipe();
      await clearOwnStorage();
      this.browserDone = true;
      return true;
    } catch (error) {
      console.error(error);
      this.offerRetry(t("The browser refused to delete its data. Nothing was deleted on the server. Try again, or delete the data of this site in the settings of your browser."));
      return false;
    }
  }

  async purgeServer() {
    try {
      let job = this.job ? await call(`/api/chat/purge/${this.job}/`) : await call("/api/chat/purge/", { method: "POST" });
      this.job = job.id;
      while (job.status !== "done") {
        this.state.textContent = t("This browser is empty. The server is deleting…");
        await new Promise((resolve) => setTimeout(resolve, POLL_MS));
        job = await call(`/api/chat/purge/${job.id}/`);
      }
      this.finish(t("Everything was deleted, in this browser and on the server."), job);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      const text = this.job
        ? t("Everything in this browser was deleted. The server has started to delete your data and will finish, but the connection was lost: {message}", { message: error.message })
        : t("Everything in this browser was deleted, but the server did not start to delete your data: {message}", { message: error.message });
      this.offerRetry(text);
    }
  }

  offerRetry(text) {
    this.state.textContent = text;
    const retry = button(t("Try again"), () => this.start(), { class: "primary" });
    this.body.replaceChildren(create("div", { class: "buttons" }, retry, closeButton(t("Close"))));
    retry.focus();
  }

  finish(text, job = null) {
    this.heading.textContent = t("Deleted");
    this.state.textContent = text;
    const close = closeButton(t("Close"), { class: "primary" });
    const { certificate } = job ?? {};
    if (!certificate) this.body.replaceChildren(create("div", { class: "buttons" }, close));
    else {
      const file = new Blob([`${JSON.stringify(certificate, null, 2)}\n`], { type: "application/json" });
      const save = button(t("Download certificate"), () => download(file, `purge-${job.id}.json`));
      this.body.replaceChildren(
        removedTable(job.removed),
        create("details", {}, create("summary", { textContent: t("Certificate") }), create("pre", { class: "certificate", tabIndex: 0, textContent: JSON.stringify(certificate, null, 2) })),
        create("p", { class: "small soft", textContent: t("The certificate is signed by the server. Keep the file as proof; the documentation says how to verify it.") }),
        create("div", { class: "buttons" }, close, save),
      );
    }
    close.focus();
  }
}

function removedTable(removed) {
  const names = {
    conversations: t("Conversations"),
    messages: t("Messages"),
    responses: t("Stored responses"),
    shares: t("Shares"),
    media_jobs: t("Media jobs"),
    media_files: t("Media files"),
    usage_rows: t("Call records"),
  };
  const rows = Object.entries(names).flatMap(([name, label]) => [create("dt", { textContent: label }), create("dd", { textContent: formatNumber(removed[name] ?? 0) })]);
  return create("dl", { class: "facts" }, ...rows);
}

/** Clear the storage of this site outside IndexedDB. */
async function clearOwnStorage() {
  for (const storage of ["localStorage", "sessionStorage"]) {
    try {
      globalThis[storage].clear();
    } catch {
      // storage is blocked, so it is empty
    }
  }
  for (const name of (await globalThis.caches?.keys()) ?? []) await caches.delete(name);
}
