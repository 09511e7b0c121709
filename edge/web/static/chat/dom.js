// Creates elements, and formats numbers and times.
import { exactTime, relativeTime } from "../times.js";

// Create an element. `properties` are DOM properties, except `class`, `data` (a data-* object), `on` (event listeners) and `aria-…`,
// `role` and other names with a dash, which are attributes.
export function create(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (name === "class") made.className = value;
    else if (name === "data") Object.assign(made.dataset, value);
    else if (name === "on") for (const [event, listener] of Object.entries(value)) made.addEventListener(event, listener);
    else if (name === "role" || name.includes("-")) made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export function button(label, listener, properties = {}) {
  return create("button", { type: "button", textContent: label, on: { click: listener }, ...properties });
}

export function link(href, label) {
  return create("a", { href, textContent: label });
}

// A random UUID. `crypto.randomUUID` does not exist on pages served over plain HTTP.
export function newId() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

// Copy text, also on pages served over plain HTTP, where `navigator.clipboard` does not exist.
export async function copyText(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const holder = create("textarea", { value: text, class: "hidden", readOnly: true });
  (document.querySelector("dialog[open]") ?? document.body).append(holder);
  const focused = document.activeElement;
  holder.select();
  const copied = document.execCommand("copy");
  holder.remove();
  focused?.focus();
  if (!copied) throw new Error("The browser did not copy the text.");
}

// Format an integer with thin spaces between groups, as all pages do.
export function formatNumber(number) {
  return String(number).replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f");
}

// Return a <time>: relative, with the exact local time on hover. `at` is in milliseconds. times.js keeps its text current.
export function timeElement(at) {
  return create("time", { dateTime: new Date(at).toISOString(), title: exactTime(at), textContent: relativeTime(at) });
}
