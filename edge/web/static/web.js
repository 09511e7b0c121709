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

// What is still under way is looked at again. Only a change is put on the page, so that nobody who reads or listens is disturbed.
function lookAgain(shown) {
  setTimeout(async () => {
    const answer = await fetch(location.href).catch(() => null);
    if (answer?.redirected) location.reload(); // the session is over
    const fresh = answer?.ok
      ? new DOMParser().parseFromString(await answer.text(), "text/html").getElementById(shown.id)
      : null;
    if (fresh && fresh.innerHTML !== shown.innerHTML) {
      shown.replaceChildren(...fresh.childNodes);
      shown.querySelectorAll("form[method=post]").forEach(sendOnce);
    }
    if (!fresh || "refresh" in fresh.dataset) lookAgain(shown);
  }, Number(shown.dataset.refresh));
}

if (navigator.clipboard) document.querySelectorAll("[data-copy]").forEach(addCopyButton);
document.querySelectorAll("form[method=post]").forEach(sendOnce);
document.querySelectorAll("[data-refresh]").forEach(lookAgain);
addEventListener("pageshow", () => {
  document.querySelectorAll("form[data-sent]").forEach((form) => { delete form.dataset.sent; });
});
document.querySelectorAll("select[data-submits]").forEach((select) => {
  select.addEventListener("change", () => select.form.requestSubmit());
});
