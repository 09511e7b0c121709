// Live updates of the media page: the price of the current choices, and the progress of jobs. Without it, reload the page.
import { t } from "./i18n.js";

const MAX_STREAMS = 3; // browsers open six connections per host, and files need some of them
const PRICED = ["n", "seconds"];

// Fetch the price from the server. Only the length of the prompt is sent, not its text.
function showPrice(form) {
  const price = form.querySelector("[data-price]");
  const prompt = form.elements.prompt;
  let latest = 0;
  async function fetchPrice() {
    const number = ++latest;
    const query = new URLSearchParams({ model: form.elements.model.value });
    for (const name of PRICED) if (form.elements[name]) query.set(name, form.elements[name].value);
    if (form.dataset.media === "speech") query.set("characters", Array.from(prompt.value).length);
    const answer = await fetch("/account/media/price?" + query);
    if (answer.ok && number === latest) price.textContent = (await answer.json()).words;
  }
  let waiting;
  const soon = () => { clearTimeout(waiting); waiting = setTimeout(fetchPrice, 250); };
  form.addEventListener("change", (event) => { if (event.target !== prompt) fetchPrice(); });
  if (form.dataset.media === "speech") prompt.addEventListener("input", soon);
  if (prompt.value) fetchPrice();
}

// Keep the last prompt of each media type in this tab's session storage.
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

// Follow one job: show its progress, then its result as HTML from the server.
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
  card.querySelector("[data-words]").textContent = job.status === "queued" ? t("Queued") : t("Generating");
}

function replace(card, html) {
  const fresh = new DOMParser().parseFromString(html, "text/html").querySelector("article");
  const focused = card.contains(document.activeElement);
  card.replaceWith(fresh);
  document.querySelectorAll(".flash").forEach((words) => words.remove()); // "Job started" is outdated
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
const next = () => { if (unfinished.length) follow(unfinished.pop(), next); }; // oldest first, because it ends first
for (let started = 0; started < MAX_STREAMS; started++) next();
