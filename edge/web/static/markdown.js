// Shows Markdown in an element. While a text streams in, only its last block is rendered again.
// The parser loads when it is first needed; until then, the plain text is shown.

import { formulasNote, improveBlocks, MAX_FORMULAS, nextFrame } from "./code_and_math.js";
import { sanitize } from "./sanitize_html.js";

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

function drawRest(element, state, text) {
  const env = { message: state.message, references: { ...state.references } };
  replaceOpen(element, state, rules.renderTokens(rules.parse(text.slice(state.done.length), env), env));
  Object.assign(state, { done: text, kept: element.childNodes.length, code: null, streamed: false });
  state.formulas = improveBlocks(element, state.formulas);
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
    state.formulas = improveBlocks(element, state.formulas);
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
