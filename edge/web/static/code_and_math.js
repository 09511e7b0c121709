// Copy buttons, highlighted code and typeset formulas in rendered Markdown. The libraries load when they are first needed.

import { t } from "./i18n.js";
import { sanitize } from "./sanitize_html.js";

const MAX_HIGHLIGHTED = 50_000; // characters of one block of code; more would block the page
export const MAX_FORMULAS = 500; // of one message; the others stay TeX, because thousands would block the page
const SLICE_MS = 12; // formulas are drawn in slices, with a frame between them
const MAX_FRAME_WAIT_MS = 200; // frames stop in tabs in the background
const MAX_SIZE_EM = 50; // of rules and spaces in a formula

// Add copy buttons, highlighting and math to the blocks of `element` that are new. `formulas` were found in it before.
// Returns how many there are now.
export function improveBlocks(element, formulas = 0) {
  for (const block of element.children) {
    if ("complete" in block.dataset) continue;
    block.dataset.complete = "";
    for (const figure of block.matches("figure.code") ? [block] : block.querySelectorAll("figure.code")) improveCode(figure);
    for (const code of block.querySelectorAll("code.math")) {
      formulas += 1;
      if (formulas <= MAX_FORMULAS) waiting.push({ element, code });
    }
  }
  if (waiting.length) drawMath();
  return formulas;
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
    const displayMode = code.classList.contains("display");
    katex.render(code.textContent, shown, { displayMode, trust: false, strict: "ignore", maxSize: MAX_SIZE_EM });
  } catch {
    return; // invalid TeX is shown unchanged
  }
  code.replaceWith(shown);
}

export function formulasNote() {
  const note = document.createElement("p");
  note.className = "small soft";
  note.textContent = t("Only the first {count} formulas are typeset. The others are shown as TeX.", { count: MAX_FORMULAS });
  return note;
}

export function nextFrame() {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, MAX_FRAME_WAIT_MS);
    requestAnimationFrame(() => { clearTimeout(timer); resolve(); });
  });
}
