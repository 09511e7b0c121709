// Searches the documentation in the browser. The index is loaded from this site when the field is first used.
import { t } from "./i18n.js";

const form = document.querySelector(".docs-search");
const field = document.getElementById("docs-search");
const results = document.getElementById("docs-results");
const MAX_RESULTS = 12;
const EXCERPT = 90; // characters of text around the first match
let loading = null; // the promise of the index

async function loadIndex() {
  const response = await fetch(`/docs/search.json?language=${document.documentElement.lang}`);
  if (!response.ok) throw new Error(`status ${response.status}`);
  return (await response.json()).map(([title, page, url, text]) => ({
    title, page, url, text, head: `${title} ${page}`.toLowerCase(), body: text.toLowerCase(),
  }));
}

// Every word must occur. Words in headings count more than words in texts.
function score(entry, words) {
  let sum = 0;
  for (const word of words) {
    const inHead = entry.head.includes(word);
    if (!inHead && !entry.body.includes(word)) return 0;
    sum += inHead ? 10 : 1;
  }
  return sum + (entry.title.toLowerCase().startsWith(words[0]) ? 5 : 0);
}

function excerpt(entry, words) {
  const at = Math.max(0, ...words.map((word) => entry.body.indexOf(word)));
  const from = Math.max(0, at - EXCERPT / 3);
  return (from ? "…" : "") + entry.text.slice(from, from + EXCERPT) + (from + EXCERPT < entry.text.length ? "…" : "");
}

function link(entry, words) {
  const made = document.createElement("a");
  made.href = entry.url;
  const title = document.createElement("b");
  title.textContent = entry.title;
  const where = document.createElement("span");
  where.textContent = entry.title === entry.page ? "" : entry.page;
  const text = document.createElement("small");
  text.textContent = excerpt(entry, words);
  made.append(title, where, text);
  return made;
}

// Show the results for the field's text, once the index is loaded.
async function search() {
  if (field.value.trim()) {
    try {
      loading ??= loadIndex();
      await loading;
    } catch {
      loading = null;
      results.hidden = false;
      results.textContent = t("The search could not be loaded. Check your network.");
      return;
    }
  }
  const words = field.value.toLowerCase().split(/\s+/).filter(Boolean); // it may have changed since
  results.hidden = !words.length;
  if (!words.length) return;
  const index = await loading;
  const found = index
    .map((entry) => [score(entry, words), entry])
    .filter(([points]) => points > 0)
    .sort(([left], [right]) => right - left)
    .slice(0, MAX_RESULTS);
  results.replaceChildren(...found.map(([, entry]) => link(entry, words)));
  if (!found.length) results.textContent = t("No results.");
}

form.hidden = false;
field.addEventListener("input", search);
field.addEventListener("focus", () => {
  loading ??= loadIndex();
  loading.catch(() => { loading = null; }); // the next input tries again
}, { once: true });
form.addEventListener("submit", (event) => {
  event.preventDefault();
  results.querySelector("a")?.click();
});
form.addEventListener("keydown", (event) => {
  const links = [field, ...results.querySelectorAll("a")];
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (event.key === "Escape") {
    field.value = "";
    search();
    field.focus();
  } else if (step && !results.hidden) {
    event.preventDefault();
    links[(links.indexOf(document.activeElement) + step + links.length) % links.length].focus();
  }
});
results.addEventListener("click", (event) => { // a link to this page only scrolls
  if (event.target.closest("a")) results.hidden = true;
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.target.closest("input, textarea, select")) return;
  event.preventDefault();
  field.focus();
});
if (matchMedia("(max-width: 860px)").matches) document.querySelector(".contents").open = false;
