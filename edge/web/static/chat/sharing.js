// Sharing a conversation as a public page, and continuing a shared conversation in this browser.
import { t } from "../i18n.js";
import { renderMarkdown } from "../markdown.js";
import { ApiError, call } from "./api.js";
import { closeButton, openDialog } from "./dialogs.js";
import { button, copyText, create, link, newId } from "./dom.js";

const COPIED_MS = 2000;
const MAX_TITLE = 200;

/** Open the dialog that shares the branch `path` of a conversation: a title and a preview, then the link. */
export function openShare(conversation, path) {
  const shown = path.filter(({ text }) => text.trim());
  const title = create("input", { id: "share-title", value: conversation.title.slice(0, MAX_TITLE), maxLength: MAX_TITLE, required: true, dir: "auto", autocomplete: "off" });
  const problem = create("p", { class: "wrong", role: "alert", hidden: true });
  const submit = create("button", { class: "primary", textContent: t("Create link") });
  const form = create(
    "form",
    { on: { submit: (event) => { event.preventDefault(); share(); } } },
    create("p", { textContent: t("Anyone with the link can read these messages until you revoke it. Later messages, files, reasoning and the system prompt are not shared.") }),
    create("div", { class: "field" }, create("label", { htmlFor: title.id, textContent: t("Title") }), title),
    create("div", { class: "share-preview", role: "region", "aria-label": t("Preview"), tabIndex: 0 }, ...shown.map(preview)),
    problem,
    create("div", { class: "buttons" }, submit, closeButton()),
  );
  const share = async () => {
    submit.disabled = true;
    problem.hidden = true;
    try {
      const messages = shown.map(({ role, text }) => ({ role, content: text }));
      showLink(dialog, await call("/api/chat/share/", { body: { title: title.value.trim(), messages } }));
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      problem.textContent = error.message;
      problem.hidden = false;
      submit.disabled = false;
    }
  };
  const dialog = openDialog(t("Share this conversation"), [form], { wide: true });
  title.select();
}

function preview({ role, text }) {
  const body = create("div", { class: role === "user" ? "preview-text" : "preview-text said", dir: "auto" });
  if (role === "user") body.textContent = text;
  else renderMarkdown(body, text, { streaming: false });
  return create("article", {}, create("h3", { textContent: role === "user" ? t("User") : t("Assistant") }), body);
}

function showLink(dialog, created) {
  const address = create("input", { id: "share-url", readOnly: true, value: created.url, on: { focus: () => address.select() } });
  const status = create("p", { class: "small soft", role: "status", textContent: t("The link is public now.") });
  const copy = button(t("Copy link"), async () => {
    await copyText(created.url);
    copy.textContent = t("Copied");
    setTimeout(() => (copy.textContent = t("Copy link")), COPIED_MS);
  }, { class: "primary" });
  const revoke = button(t("Revoke"), async () => {
    try {
      await call(`/api/chat/share/${created.slug}/`, { method: "DELETE" });
      status.textContent = t("Revoked. The link no longer works.");
      for (const one of [copy, revoke, address]) one.disabled = true;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      status.textContent = error.message;
    }
  });
  const open = create("a", { href: created.url, target: "_blank", rel: "noopener", textContent: t("Open the page") });
  dialog.replaceChildren(
    dialog.querySelector("h2"),
    create("div", { class: "field" }, create("label", { htmlFor: address.id, textContent: t("Link") }), address),
    create("div", { class: "buttons" }, copy, revoke, closeButton(t("Close"))),
    status,
    create("p", { class: "share-links" }, open, link("/account/shares", t("All your shares"))),
  );
  copy.focus();
}

/** Copy a shared conversation into this browser. Returns the new conversation. Raises `ApiError`. */
export async function importShare(store, slug) {
  const shared = await call(`/c/${encodeURIComponent(slug)}`);
  const now = Date.now();
  const conversation = { id: newId(), title: shared.title, created_at: now, updated_at: now, pinned: false, folder: "", model: null, system: "", parameters: {}, leaf: null };
  const messages = [];
  for (const { role, content } of shared.messages) {
    messages.push({ id: newId(), conversation: conversation.id, parent: conversation.leaf, role, text: content, status: "complete", created_at: now + messages.length });
    conversation.leaf = messages.at(-1).id;
  }
  await store.importConversation(conversation, messages);
  return conversation;
}
