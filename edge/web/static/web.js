// Progressive enhancements. All pages except the chat work without this file.
import { t } from "./i18n.js";

// Add a button that copies the content of the element before it.
function addCopyButton(shown) {
  const button = document.createElement("button");
  const what = shown.dataset.what || shown.dataset.copy;
  const name = (text, label) => {
    button.textContent = text;
    button.setAttribute("aria-label", label);
  };
  const reset = () => name(t("Copy"), t("Copy {what}", { what }));
  button.type = "button";
  button.className = "copy";
  reset();
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(shown.dataset.copy);
    name(t("Copied"), t("Copied {what}", { what }));
    setTimeout(reset, 1500);
  });
  shown.after(button);
}

// Prevent double submission of forms.
function sendOnce(form) {
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "yes";
  });
}

// Return an element's HTML without the texts of its times, which change all the time.
function comparable(element) {
  const copy = element.cloneNode(true);
  for (const time of copy.querySelectorAll("time")) time.replaceWith(time.dateTime);
  return copy.innerHTML;
}

// Poll an element that is still changing. The page is only updated on a change, so as not to disturb screen readers.
function pollForChanges(shown) {
  setTimeout(async () => {
    const answer = await fetch(location.href).catch(() => null);
    if (answer?.redirected) location.reload(); // the session has ended
    const fresh = answer?.ok
      ? new DOMParser().parseFromString(await answer.text(), "text/html").getElementById(shown.id)
      : null;
    if (fresh && comparable(fresh) !== comparable(shown)) {
      shown.replaceChildren(...fresh.childNodes);
      shown.querySelectorAll("form[method=post]").forEach(sendOnce);
    }
    if (!fresh || "refresh" in fresh.dataset) pollForChanges(shown);
  }, Number(shown.dataset.refresh));
}

// On phones, a navigation is one row that scrolls.
document.querySelectorAll("nav a[aria-current]").forEach((link) => link.scrollIntoView({ block: "nearest", inline: "nearest" }));
if (navigator.clipboard) document.querySelectorAll("[data-copy]").forEach(addCopyButton);
document.querySelectorAll("form[method=post]").forEach(sendOnce);
document.querySelectorAll("[data-refresh]").forEach(pollForChanges);
addEventListener("pageshow", () => {
  document.querySelectorAll("form[data-sent]").forEach((form) => { delete form.dataset.sent; });
});
document.querySelectorAll("select[data-submits]").forEach((select) => {
  select.addEventListener("change", () => select.form.requestSubmit());
});
