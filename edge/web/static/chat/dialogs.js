// Dialogs that several parts of the chat use: one that asks for a text, one that asks for confirmation.
import { t } from "../i18n.js";
import { button, create } from "./dom.js";

let lastNumber = 0;

/** Open a modal dialog with a title and `content`. It is removed when it closes; `closed(returnValue)` is called then. */
export function openDialog(title, content, { closed = () => {}, wide = false } = {}) {
  lastNumber += 1;
  const heading = create("h2", { id: `dialog-${lastNumber}`, textContent: title });
  const dialog = create("dialog", { class: wide ? "dialog wide" : "dialog", "aria-labelledby": heading.id }, heading, ...content);
  dialog.addEventListener("close", () => {
    dialog.remove();
    closed(dialog.returnValue);
  });
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/** A button that closes the dialog that it is in. */
export function closeButton(label = t("Cancel"), properties = {}) {
  const made = button(label, () => made.closest("dialog").close(), properties);
  return made;
}

/** Ask for one line of text. Resolves to the text, or to null. An empty text is only possible with `optional`. */
export function askText({ title, label, value = "", action, help = "", suggestions = [], optional = false, maxLength = 200 }) {
  return new Promise((resolve) => {
    const input = create("input", { id: "dialog-text", value, maxLength, required: !optional, dir: "auto", autocomplete: "off" });
    const list = suggestions.length ? create("datalist", { id: "dialog-suggestions" }, ...suggestions.map((text) => create("option", { value: text }))) : null;
    if (list) input.setAttribute("list", list.id);
    if (help) input.setAttribute("aria-describedby", "dialog-help");
    const form = create(
      "form",
      { method: "dialog", on: { submit: () => (form.closest("dialog").returnValue = "ok") } },
      create("div", { class: "field" }, create("label", { htmlFor: input.id, textContent: label }), input, list, help ? create("span", { class: "help", id: "dialog-help", textContent: help }) : null),
      create("div", { class: "buttons" }, create("button", { class: "primary", value: "ok", textContent: action }), closeButton()),
    );
    openDialog(title, [form], { closed: (result) => resolve(result === "ok" ? input.value.replace(/\s+/g, " ").trim() : null) });
    input.select();
  });
}

/** Ask whether to do something that cannot be undone. Resolves to true or false. */
export function confirmAction({ title, paragraphs, action }) {
  return new Promise((resolve) => {
    const confirmed = button(action, () => confirmed.closest("dialog").close("ok"), { class: "danger" });
    const cancel = closeButton();
    const content = [...paragraphs.map((text) => create("p", { textContent: text })), create("div", { class: "buttons" }, confirmed, cancel)];
    openDialog(title, content, { closed: (result) => resolve(result === "ok") });
    cancel.focus();
  });
}
