// The parts of the chat that load last: files, the list of conversations, sharing, sync, voice, and "Delete everything".
import { t } from "../i18n.js";
import { ApiError, signedIn } from "./api.js";
import { mountAttachments } from "./attachments.js";
import { button } from "./dom.js";
import { openDeleteEverything } from "./delete_everything.js";
import { importShare, openShare } from "./sharing.js";
import { mountSidebar } from "./sidebar.js";
import { Sync } from "./sync.js";
import { shownPath } from "./transfer_formats.js";
import { mountDictation, readAloud } from "./voice.js";

const byId = (id) => document.getElementById(id);

/** Add the parts to the app. `limit` is the answer of `GET /api/chat/limit/`, or null if it could not be read. */
export async function mountExtras(app, limit) {
  const { store } = app;
  const notify = (text) => app.notify(text);
  const charged = () => app.refreshLimit(true);
  const sync = limit?.kind === "account" ? new Sync(store, limit, (id) => app.reload(id)) : null;
  const footer = [button(t("Delete everything"), () => openDeleteEverything({ store, signedIn, before: () => app.conversation.stop() }), { class: "quiet" })];
  if (sync?.allowed) footer.unshift(syncButton(sync));
  const share = async (conversation) => openShare(conversation, shownPath(conversation, await store.messages(conversation.id)));
  const sidebar = mountSidebar(byId("sidebar"), {
    store,
    tools: byId("sidebar-tools"),
    main: byId("main"),
    open: (id) => app.openById(id),
    current: () => app.conversation.record.id,
    notify,
    footer,
    actions: signedIn ? [{ label: t("Share"), act: share }] : [],
    deleting: (conversation) => sync?.deletionText(conversation) ?? "",
  });
  if (signedIn) {
    const shareButton = button(t("Share"), () => openShare(app.conversation.record, app.conversation.path), { class: "quiet" });
    byId("conversation-tools").append(shareButton);
    const update = () => (shareButton.hidden = !app.conversation.saved);
    byId("chat").addEventListener("conversation", update);
    update();
  }
  byId("chat").addEventListener("conversation", () => sidebar.mark());
  app.composer.useAttachments(mountAttachments(byId("composer-attachments"), {
    prompt: app.composer.prompt,
    changed: () => app.composer.edited(),
    tools: byId("composer-tools"),
    area: byId("main"),
    models: () => app.modelsToAsk().map((id) => app.models.get(id)),
    earlier: () => app.conversation.path.flatMap(({ role, attachments }) => (role === "user" ? (attachments ?? []) : [])),
    bodyBytes: Number(byId("chat").dataset.bodyBytes),
  }));
  const { models } = app.catalog;
  mountDictation(byId("composer-tools"), { models, signedIn, notify, charged, insert: (text) => app.composer.insert(text) });
  app.view.extras.push(readAloud({ models, signedIn, notify, charged }));
  app.conversationChanged("messages"); // so that the messages on screen get the new buttons
  await Promise.all([sidebar.ready, sync?.start()]);
}

// The button says whether sync is on, and so does the page of a new conversation.
function syncButton(sync) {
  const made = button(t("Sync"), () => sync.openDialog(), { class: "quiet" });
  const note = byId("kept-where");
  const offText = note?.textContent;
  sync.onState(() => {
    made.textContent = sync.isOn ? t("Sync is on") : t("Sync");
    made.classList.toggle("bad", Boolean(sync.problem));
    if (note) note.textContent = sync.isOn ? t("Sync is on: your conversations are kept in this browser, with copies in your account.") : offText;
  });
  return made;
}

/** Copy a shared conversation into this browser and open it. */
export async function continueShare(app, slug) {
  try {
    const { id } = await importShare(app.store, slug);
    history.replaceState(null, "", `/#${id}`);
    await app.open(id);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    history.replaceState(null, "", "/");
    await app.openNew();
    app.notify(error.code === "not_found" ? t("This shared conversation no longer exists.") : error.message);
  }
}
