// Applies the catalog's filters while they are changed, without loading the page again.
"use strict";

const filters = document.getElementById("filters");
const results = document.getElementById("results");
let latest = 0;
let waiting = 0;

function currentQuery() {
  const query = new URLSearchParams(new FormData(filters));
  for (const [name, value] of [...query]) if (!value || (name === "sort" && value === "name")) query.delete(name);
  return query;
}

// Load the results for the form's values. Only the answer to the latest change is shown.
async function applyFilters() {
  const number = ++latest;
  const query = currentQuery();
  const address = query.size ? `/models?${query}` : "/models";
  query.set("part", "results");
  const answer = await fetch(`/models?${query}`).catch(() => null);
  if (number !== latest) return;
  if (!answer?.ok) {
    location.href = address;
    return;
  }
  const text = await answer.text();
  if (number !== latest) return;
  results.replaceChildren(...new DOMParser().parseFromString(text, "text/html").body.childNodes);
  history.replaceState(null, "", address);
}

filters.classList.add("live");
filters.addEventListener("input", (event) => {
  clearTimeout(waiting);
  waiting = setTimeout(applyFilters, event.target.type === "search" ? 150 : 0);
});
filters.addEventListener("submit", (event) => {
  event.preventDefault();
  clearTimeout(waiting);
  applyFilters();
});
