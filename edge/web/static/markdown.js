// Shows Markdown in an element. While a text streams in, only its last block is rendered again.
// The parser, highlighting and math load when they are first needed; until the parser has loaded, the plain text is shown.

import { t } from "./i18n.js";

const ELEMENTS = new Set([
  "p", "br", "hr", "blockquote", "pre", "code", "em", "strong", "s", "a", "sup", "h3", "h4", "h5", "h6", "ul", "ol", "li", "div", "figure",
  "figcaption", "section", "table", "thead", "tbody", "tr", "th", "td", "span",
]);
const ATTRIBUTES = new Set(["dir", "href", "title", "id", "class", "tabindex", "start", "align"]);
const SAFE_LINK = /^(https?:\/\/|mailto:|#fn)/i;
const MAX_HIGHLIGHTED = 50_000; // characters of one block of code; more would block the page
const MAX_FORMULAS = 500; // of one message; the others stay TeX, because thousands would block the page
const SLICE_MS = 12; // formulas are drawn in slices, with a frame between them
const MAX_FRAME_WAIT_MS = 200; // frames stop in tabs in the background

let rules; // the parser's module, once it has loaded
let loading;
let messages = 0;
const states = new WeakMap();

// Load the parser ahead of its first use.
export function loadMarkdown() {
  loading ??= import("./markdown_rules.js").then((module) => { rules = module; }, (error) => {
    loading = undefined; // try again with the next text
    throw error;
  });
  return loading;
}

// Replace the content of `element` with `text`. Call it again with each longer text while it is `streaming`, and a last time without.
// Resolves when the element is up to date, or when a later call has replaced this one.
export async function renderMarkdown(element, text, { streaming = false } = {}) {
  let state = states.get(element);
  if (!state) {
    messages += 1;
    state = { message: String(messages), ...FRESH };
    states.set(element, state);
  }
  if (!streaming && state.shown === text) return;
  state.call += 1;
  state.shown = streaming ? null : text;
  const { call } = state;
  if (!rules) {
    showPlain(element, text);
    try {
      await loadMarkdown();
    } catch {
      return; // offline: the plain text stays
    }
  } else if (streaming && state.drawn) await nextFrame();
  if (state.call !== call) return;
  element.classList.add("markdown");
  element.classList.remove("plain");
  if (!state.drawn || !text.startsWith(state.done) || (!streaming && (state.late || !state.streamed))) reset(element, state);
  state.drawn = true;
  if (streaming) drawLastBlock(element, state, text);
  else drawRest(element, state, text);
}

const FRESH = {
  call: 0,
  shown: null, // the complete text
  drawn: false, // something was rendered, so later text may wait for the next frame
  streamed: false, // blocks were rendered one after another
  done: "", // the text of the blocks that cannot change anymore
  kept: 0, // the number of their nodes
  code: null, // the text node of the code block that is open
  references: undefined, // link references of `done`
  formulas: 0, // that were found in complete blocks
  late: false, // a footnote or link reference may change earlier blocks
};

function reset(element, state) {
  element.replaceChildren();
  Object.assign(state, FRESH, { call: state.call, shown: state.shown });
}

function showPlain(element, text) {
  element.classList.add("plain");
  element.textContent = text;
}

function nextFrame() {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, MAX_FRAME_WAIT_MS);
    requestAnimationFrame(() => { clearTimeout(timer); resolve(); });
  });
}

function drawRest(element, state, text) {
  const env = { message: state.message, references: { ...state.references } };
  replaceOpen(element, state, rules.renderTokens(rules.parse(text.slice(state.done.length), env), env));
  Object.assign(state, { done: text, kept: element.childNodes.length, code: null, streamed: false });
  improve(element, state);
  if (state.formulas > MAX_FORMULAS) element.append(formulasNote());
}

function drawLastBlock(element, state, text) {
  const tail = text.slice(state.done.length);
  const env = { message: state.message, references: { ...state.references } };
  const tokens = rules.parse(tail, env);
  state.streamed = true;
  state.late ||= Boolean(env.footnotes) || Object.keys(env.references).length > 0 || tail.includes("[^");
  const last = tokens.findLastIndex((token) => token.level === 0 && token.map && token.nesting >= 0);
  const open = last < 0 ? [] : tokens.slice(last);
  const cut = last < 0 ? 0 : startOfLine(tail, tokens[last].map[0]);
  if (cut > 0 && last > 0) {
    state.code = null;
    replaceOpen(element, state, rules.renderTokens(tokens.slice(0, last), env));
    improve(element, state);
    Object.assign(state, { done: text.slice(0, state.done.length + cut), kept: element.childNodes.length, references: env.references });
  }
  if (state.code && open.length === 1 && open[0].type === "fence" && open[0].content.startsWith(state.code.data)) {
    state.code.appendData(open[0].content.slice(state.code.data.length));
    return;
  }
  replaceOpen(element, state, rules.renderTokens(open, env));
  const code = open.length === 1 && open[0].type === "fence" ? element.lastElementChild?.querySelector("pre > code") : null;
  state.code = code?.firstChild ?? null;
}

function startOfLine(text, line) {
  let at = 0;
  for (let number = 0; number < line; number += 1) at = text.indexOf("\n", at) + 1;
  return at;
}

// Replace the nodes of the blocks that may still change.
function replaceOpen(element, state, html) {
  while (element.childNodes.length > state.kept) element.lastChild.remove();
  element.append(sanitize(html));
}

// Return `html` as nodes, with allowed elements and attributes only. The rules already guarantee this; it is a second safeguard.
function sanitize(html) {
  const template = document.createElement("template"); // its content is inert: it loads and runs nothing
  template.innerHTML = html;
  for (const node of template.content.querySelectorAll("*")) {
    if (!ELEMENTS.has(node.localName)) node.remove();
    for (const { name, value } of [...node.attributes]) {
      if (!ATTRIBUTES.has(name) || (name === "href" && !SAFE_LINK.test(value))) node.removeAttribute(name);
    }
    if (node.localName === "a" && !node.hash.startsWith("#fn")) {
      node.rel = "nofollow noopener noreferrer";
      node.target = "_blank";
    }
  }
  return template.content;
}

// Add copy buttons, highlighting and math to blocks that are complete.
function improve(element, state) {
  for (const block of element.children) {
    if ("complete" in block.dataset) continue;
    block.dataset.complete = "";
    for (const figure of block.matches("figure.code") ? [block] : block.querySelectorAll("figure.code")) improveCode(figure);
    for (const code of block.querySelectorAll("code.math")) {
      state.formulas += 1;
      if (state.formulas <= MAX_FORMULAS) waiting.push({ element, code });
    }
  }
  if (waiting.length) drawMath();
}

function improveCode(figure) {
  const code = figure.querySelector("code");
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = t("Copy");
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = t("Copied");
    setTimeout(() => { button.textContent = t("Copy"); }, 2000);
  });
  figure.querySelector("figcaption").append(button);
  const language = code.className.replace("language-", "");
  if (language !== "text" && code.textContent.length <= MAX_HIGHLIGHTED) highlight(code, language);
}

let highlighter;

async function highlight(code, language) {
  highlighter ??= import("./vendor/highlight.js/highlight.min.js");
  const { default: library } = await highlighter;
  if (!library.getLanguage(language)) return;
  code.replaceChildren(sanitize(library.highlight(code.textContent, { language, ignoreIllegals: true }).value));
}

let math;

function loadMath() {
  const style = document.createElement("link");
  style.rel = "stylesheet";
  style.href = new URL("./vendor/katex/katex.min.css", import.meta.url).href;
  const styled = new Promise((resolve) => { style.onload = style.onerror = resolve; });
  document.head.append(style);
  return Promise.all([import("./vendor/katex/katex.min.js"), styled]).then(() => globalThis.katex);
}

const waiting = []; // formulas to draw, with the elements of their messages
let drawing = false;

async function drawMath() {
  if (drawing) return;
  drawing = true;
  try {
    math ??= loadMath();
    const katex = await math;
    while (waiting.length) {
      const end = performance.now() + SLICE_MS;
      do {
        const { element, code } = waiting.shift();
        if (element.contains(code)) showFormula(katex, code); // the text may have been drawn again
      } while (waiting.length && performance.now() < end);
      await nextFrame();
    }
  } finally {
    drawing = false;
  }
}

function showFormula(katex, code) {
  const shown = document.createElement("span");
  shown.dir = "ltr";
  try {
    // KaTeX builds elements without parsing HTML; `trust` off forbids links, images and ids.
    katex.render(code.textContent, shown, { displayMode: code.classList.contains("display"), trust: false, strict: "ignore" });
  } catch {
    return; // invalid TeX is shown unchanged
  }
  code.replaceWith(shown);
}

function formulasNote() {
  const note = document.createElement("p");
  note.className = "small soft";
  note.textContent = t("Only the first {count} formulas are typeset. The others are shown as TeX.", { count: MAX_FORMULAS });
  return note;
}

// Links of footnotes scroll. The address stays, because its fragment may mean something else to the page.
document.addEventListener("click", (event) => {
  const link = event.target instanceof Element ? event.target.closest('.markdown a[href^="#fn"]') : null;
  if (!link) return;
  event.preventDefault();
  const target = document.getElementById(link.hash.slice(1));
  target?.scrollIntoView({ block: "nearest" });
  if (target) {
    target.tabIndex = -1;
    target.focus({ preventScroll: true });
  }
});
