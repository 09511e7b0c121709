// Small comforts. Every page works without this file.
"use strict";

const THIN = "\u202f";

function written(amount) {
  const digits = Math.abs(amount).toString().replace(/\B(?=(\d{3})+(?!\d))/g, THIN);
  return (amount < 0 ? "\u2212" : "") + digits;
}

function read(text) {
  const digits = text.replace(/[\s_\u2009\u202f\u00a0]/g, "").replace("\u2212", "-");
  return /^[+-]?\d{1,15}$/.test(digits) ? Number(digits) : null;
}

// Ids are shortened in the middle; a button beside each copies the whole.
function addCopyButton(shown) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "Copy";
  button.setAttribute("aria-label", "Copy " + shown.title);
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(shown.dataset.copy);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  shown.after(button);
}

// The button of the credits form names the act and the balance that follows.
function nameTheAct(form) {
  const button = form.querySelector("button");
  const after = form.querySelector("[data-after]");
  const update = () => {
    const amount = read(form.elements.amount.value);
    if (!amount) {
      button.textContent = button.dataset.plain;
      after.textContent = "";
      return;
    }
    button.textContent = (amount > 0 ? "Grant " : "Take ") + written(Math.abs(amount)) + " credits";
    after.textContent = "After it: " + written(Number(form.dataset.balance) + amount) + ".";
  };
  form.elements.amount.addEventListener("input", update);
  update();
}

// A form that is on its way is not sent again. The server counts it once all the same.
function sendOnce(form) {
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "yes";
  });
}

if (navigator.clipboard) document.querySelectorAll("[data-copy]").forEach(addCopyButton);
document.querySelectorAll("form[data-balance]").forEach(nameTheAct);
document.querySelectorAll("form[method=post]").forEach(sendOnce);
addEventListener("pageshow", () => {
  document.querySelectorAll("form[data-sent]").forEach((form) => { delete form.dataset.sent; });
});
document.querySelectorAll("select[data-submits]").forEach((select) => {
  select.addEventListener("change", () => select.form.requestSubmit());
});
