// Texts of scripts in the page's language (docs/languages.md). English is in the scripts; other languages load a JSON file once.
const root = document.documentElement;
export const language = root.lang || "en";
const messages = root.dataset.messages ? await load(root.dataset.messages) : {};
const rules = new Intl.PluralRules(language);
const forms = ["zero", "one", "two", "few", "many", "other"].filter((form) => rules.resolvedOptions().pluralCategories.includes(form));

async function load(url) {
  try {
    const response = await fetch(url, { credentials: "same-origin" });
    return response.ok ? await response.json() : {};
  } catch {
    return {}; // offline: the page works in English
  }
}

// t("Stopped. {credits} credits charged.", { credits: "12" })
export function t(message, values = {}) {
  return fill(messages[message] ?? message, values);
}

// tn("{count} message", "{count} messages", count)
export function tn(one, many, count, values = {}) {
  const text = messages[one]?.[forms.indexOf(rules.select(count))] ?? (count === 1 ? one : many);
  return fill(text, { count, ...values });
}

function fill(text, values) {
  return text.replace(/\{(\w+)\}/g, (found, name) => (name in values ? String(values[name]) : found));
}
