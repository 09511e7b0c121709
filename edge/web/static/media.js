// The media page while it is looked at: the price of what is chosen, and jobs as they become. Without it, a reload tells as much.
"use strict";

const MOST_STREAMS = 3; // a browser opens six connections to a host; the files need some of them
const PRICED = ["n", "seconds"];

// The price, asked of the server, which alone knows how it is reckoned. The prompt is not sent, only how long it is.
function showPrice(form) {
  const price = form.querySelector("[data-price]");
  const prompt = form.elements.prompt;
  let asked = 0;
  async function ask() {
    const turn = ++asked;
    const query = new URLSearchParams({ model: form.elements.model.value });
    for (const name of PRICED) if (form.elements[name]) query.set(name, form.elements[name].value);
    if (form.dataset.media === "speech") query.set("characters", Array.from(prompt.value).length);
    const answer = await fetch("/account/media/price?" + query);
    if (answer.ok && turn === asked) price.textContent = (await answer.json()).words;
  }
  let waiting;
  const soon = () => { clearTimeout(waiting); waiting = setTimeout(ask, 250); };
  form.addEventListener("change", (event) => { if (event.target !== prompt) ask(); });
  if (form.dataset.media === "speech") prompt.addEventListener("input", soon);
  if (prompt.value) ask();
}

// A prompt is worth another try: this tab remembers the last one of each kind, and nobody else does.
function rememberPrompt(form) {
  const name = "media-prompt-" + form.dataset.media;
  const prompt = form.elements.prompt;
  if (!prompt.value) prompt.value = sessionStorage.getItem(name) || "";
  form.addEventListener("submit", () => sessionStorage.setItem(name, prompt.value));
}

function describeModel(form) {
  const words = form.querySelector("span[data-about]");
  form.elements.model.addEventListener("change", (event) => { words.textContent = event.target.selectedOptions[0].dataset.about; });
}

// One job: its progress as the server tells it, then what it made, drawn by the server.
function follow(card, after) {
  const events = new EventSource(`/api/media/jobs/${card.dataset.job}/`);
  events.onmessage = (event) => {
    const job = JSON.parse(event.data);
    if (job.status === "queued" || job.status === "running") showProgress(card, job);
    else finish();
  };
  events.onerror = () => { if (events.readyState === EventSource.CLOSED) finish(); };
  async function finish() {
    events.close();
    const answer = await fetch(`/account/media/jobs/${card.dataset.job}`);
    if (answer.ok) replace(card, await answer.text());
    after();
  }
}

function showProgress(card, job) {
  card.querySelector("progress").value = job.progress;
  card.querySelector("[data-percent]").textContent = job.progress ? `${job.progress} %` : "";
  card.querySelector("[data-words]").textContent = job.status === "queued" ? "Waiting for a worker" : "Being made";
}

function replace(card, html) {
  const fresh = new DOMParser().parseFromString(html, "text/html").querySelector("article");
  const focused = card.contains(document.activeElement);
  card.replaceWith(fresh);
  document.querySelectorAll(".flash").forEach((words) => words.remove()); // "It is on its way" is true no longer
  if (focused) (fresh.querySelector("a, video, audio") || fresh).focus();
  document.querySelector("[data-said]").textContent = `${fresh.getAttribute("aria-label")}: ${fresh.dataset.status}`;
}

const form = document.querySelector("form[data-media]");
if (form) {
  rememberPrompt(form);
  describeModel(form);
  showPrice(form);
}
const unfinished = [...document.querySelectorAll('[data-status="queued"], [data-status="running"]')];
const next = () => { if (unfinished.length) follow(unfinished.pop(), next); }; // the oldest first: it ends first
for (let started = 0; started < MOST_STREAMS; started++) next();
