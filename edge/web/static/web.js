// Small comforts. Every page but the chat works without this file.
"use strict";

// A button that copies what the element before it shows.
function addCopyButton(shown) {
  const button = document.createElement("button");
  const name = (word) => {
    button.textContent = word;
    button.setAttribute("aria-label", word + " " + (shown.dataset.what || shown.dataset.copy));
  };
  button.type = "button";
  button.className = "copy";
  name("Copy");
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(shown.dataset.copy);
    name("Copied");
    setTimeout(() => { name("Copy"); }, 1500);
  });
  shown.after(button);
}

// A form that is on its way is not sent again.
function sendOnce(form) {
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "yes";
  });
}

if (navigator.clipboard) document.querySelectorAll("[data-copy]").forEach(addCopyButton);
document.querySelectorAll("form[method=post]").forEach(sendOnce);
addEventListener("pageshow", () => {
  document.querySelectorAll("form[data-sent]").forEach((form) => { delete form.dataset.sent; });
});
document.querySelectorAll("select[data-submits]").forEach((select) => {
  select.addEventListener("change", () => select.form.requestSubmit());
});
