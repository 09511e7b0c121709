// Progressive enhancement: every page works without this file.
import { t } from "/shared/i18n.js";

const THIN = "\u202f";

function formatNumber(amount) {
  const digits = Math.abs(amount).toString().replace(/\B(?=(\d{3})+(?!\d))/g, THIN);
  return (amount < 0 ? "\u2212" : "") + digits;
}

function parseNumber(text) {
  const digits = text.replace(/[\s_\u2009\u202f\u00a0]/g, "").replace("\u2212", "-");
  return /^[+-]?\d{1,15}$/.test(digits) ? Number(digits) : null;
}

// IDs are shortened in the middle; a button beside each copies the full ID.
function addCopyButton(shown) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = t("Copy");
  button.setAttribute("aria-label", t("Copy {what}", { what: shown.title }));
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(shown.dataset.copy);
    button.textContent = t("Copied");
    setTimeout(() => { button.textContent = t("Copy"); }, 1500);
  });
  shown.after(button);
}

// The credits form shows the action on its button, and the resulting balance.
function previewAdjustment(form) {
  const button = form.querySelector("button");
  const after = form.querySelector("[data-after]");
  const update = () => {
    const amount = parseNumber(form.elements.amount.value);
    if (!amount) {
      button.textContent = button.dataset.plain;
      after.textContent = "";
      return;
    }
    const shown = { amount: formatNumber(Math.abs(amount)) };
    button.textContent = amount > 0 ? t("Grant {amount} credits", shown) : t("Deduct {amount} credits", shown);
    after.textContent = t("New balance: {balance}.", { balance: formatNumber(Number(form.dataset.balance) + amount) });
  };
  form.elements.amount.addEventListener("input", update);
  update();
}

// Prevents double submission. The server has its own check.
function preventResubmit(form) {
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "yes";
  });
}

if (navigator.clipboard) document.querySelectorAll("[data-copy]").forEach(addCopyButton);
// On a phone the menu is one line that scrolls: show the current page's entry.
document.querySelector(".menu [aria-current]")?.scrollIntoView({ inline: "center", block: "nearest" });
document.querySelectorAll("form[data-balance]").forEach(previewAdjustment);
document.querySelectorAll("form[method=post]").forEach(preventResubmit);
addEventListener("pageshow", () => {
  document.querySelectorAll("form[data-sent]").forEach((form) => { delete form.dataset.sent; });
});
document.querySelectorAll("[data-select-all]").forEach((all) => {
  all.hidden = false;
  all.addEventListener("change", () => {
    document.querySelectorAll("input[form=bulk]").forEach((one) => { one.checked = all.checked; });
  });
});
document.querySelectorAll("select[data-submits]").forEach((select) => {
  select.addEventListener("change", () => select.form.requestSubmit());
});
