// Import and export of conversations as files.
import { t, tn } from "../i18n.js";
import { create } from "./dom.js";
import { TransferError, fileName, readExport, shownPath, writeJson, writeMarkdown } from "./transfer_formats.js";

const REVOKE_MS = 60_000; // by then the browser has the file

/** Let the person choose files to import. `notify(text)` reports the result. */
export function chooseImport(store, notify) {
  const input = create("input", { type: "file", accept: ".json,.zip,application/json,application/zip", multiple: true });
  input.addEventListener("change", () => importFiles(store, [...input.files], notify));
  input.click();
}

/** Import files of ChatGPT's or our own export. Conversations that this browser already has are left as they are. */
export async function importFiles(store, files, notify) {
  let [added, present] = [0, 0];
  for (const file of files) {
    notify(t("Importing {name}…", { name: file.name }));
    try {
      const known = new Set((await store.conversations()).map(({ id }) => id));
      for (const { conversation, messages } of await readExport(file)) {
        if (known.has(conversation.id)) present += 1;
        else {
          await store.importConversation(conversation, messages);
          known.add(conversation.id);
          added += 1;
        }
      }
    } catch (error) {
      if (!(error instanceof TransferError)) throw error;
      notify(`${importedText(added, present)} ${failureText(error.code, file.name)}`.trim());
      return;
    }
  }
  notify(importedText(added, present) || t("The file contains no conversations."));
}

function importedText(added, present) {
  const texts = [];
  if (added) texts.push(tn("{count} conversation imported.", "{count} conversations imported.", added));
  if (present) texts.push(tn("{count} conversation was already here.", "{count} conversations were already here.", present));
  return texts.join(" ");
}

function failureText(code, name) {
  const texts = {
    not_json: t("{name} cannot be read: it is not a JSON file.", { name }),
    unknown_format: t("{name} cannot be read: it is neither an export of ChatGPT nor of this chat.", { name }),
    empty_zip: t("{name} cannot be read: it contains no conversations.json.", { name }),
    large_zip: t("{name} is too large to be read here. Unpack it and import its conversations.json.", { name }),
  };
  return texts[code];
}

/** Download one conversation, as "md" (the branch that is shown) or "json" (all branches). */
export async function exportConversation(store, id, format) {
  const conversation = await store.conversation(id);
  const messages = await store.messages(id);
  const file = format === "md" ? markdown(conversation, messages) : await writeJson([{ conversation, messages }]);
  download(file, fileName(conversation.title, format));
}

/** Download all conversations as JSON. */
export async function exportAll(store) {
  const exported = [];
  for (const conversation of await store.conversations()) exported.push({ conversation, messages: await store.messages(conversation.id) });
  download(await writeJson(exported), `conversations-${new Date().toISOString().slice(0, 10)}.json`);
}

function markdown(conversation, messages) {
  const labels = { user: t("User"), assistant: t("Assistant"), reasoning: t("Reasoning"), attachment: t("Attachment"), untitled: t("Untitled conversation") };
  return new Blob([writeMarkdown(conversation, shownPath(conversation, messages), labels)], { type: "text/markdown" });
}

/** Save a Blob as a file. */
export function download(blob, name) {
  const href = URL.createObjectURL(blob);
  create("a", { href, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(href), REVOKE_MS);
}
