// Markdown as HTML, by the same rules as edge/web/markdown.py. tests/markdown_cases.json is the list of cases that both must pass.
// Raw HTML is text, images become links, and only links to http, https and mailto addresses are links.
// This module needs no DOM, so that Node can test it.

import MarkdownIt from "./vendor/markdown-it/markdown-it.esm.min.mjs";
import footnotes from "./vendor/markdown-it-footnote/markdown-it-footnote.mjs";

const MAX_TEX_CHARACTERS = 4000; // the end of TeX is searched only this far, which bounds the time for text with many delimiters
const HEADING_OFFSET = 2; // a page's title and each message's heading are above the headings in messages
const SAFE_LINK = /^(https?:\/\/|mailto:)/i;
const NAME = /__[A-Za-z0-9]+__(?![A-Za-z0-9_])/y;
const LANGUAGE = /^[A-Za-z0-9_+#.-]{1,30}/;
const TASK = /^\[([ xX])\] /;
const REST_OF_LINE = /[^\S\n]*$/my;
const TEX = { "\\(": "\\)", "\\[": "\\]", "$$": "$$" };
const BIDI_BLOCKS = new Set(["paragraph_open", "heading_open", "bullet_list_open", "ordered_list_open", "blockquote_open"]);

const isWord = (character) => /[\p{L}\p{N}_]/u.test(character);
const isSpace = (character) => /\s/.test(character);

function find(text, part, start, limit) {
  const at = text.slice(start, start + limit).indexOf(part);
  return at < 0 ? -1 : start + at;
}

// Match a name such as `__init__`, which is not bold.
function name(state, silent) {
  NAME.lastIndex = state.pos;
  const found = NAME.exec(state.src);
  if (!found || (state.pos > 0 && isWord(state.src[state.pos - 1]))) return false;
  if (!silent) state.push("text", "", 0).content = found[0];
  state.pos += found[0].length;
  return true;
}

// Match TeX inside a paragraph.
function inlineMath(state, silent) {
  const opening = state.src.slice(state.pos, state.pos + 2);
  let start = state.pos + 2, end, after;
  if (opening in TEX) {
    end = find(state.src, TEX[opening], start, MAX_TEX_CHARACTERS);
    after = end + 2;
  } else if (opening[0] === "$") {
    start = state.pos + 1;
    end = endOfDollars(state.src, state.pos);
    after = end + 1;
  } else return false;
  if (end < 0 || !state.src.slice(start, end).trim()) return false;
  if (!silent) {
    const token = state.push("math", "code", 0);
    token.content = state.src.slice(start, end).trim();
    token.meta = { display: opening === "$$" || opening === "\\[" };
  }
  state.pos = after;
  return true;
}

// Return the end of TeX between single dollars, or -1 for prices and shell variables, such as `$5 and $10` or `$HOME/$USER`.
function endOfDollars(text, start) {
  if (start > 0 && (isWord(text[start - 1]) || "$\\".includes(text[start - 1]))) return -1;
  const end = find(text, "$", start + 1, MAX_TEX_CHARACTERS - 1);
  if (end < 0 || text.slice(start, end).includes("\n") || isSpace(text[start + 1]) || isSpace(text[end - 1]) || text[end - 1] === "\\") return -1;
  return end + 1 < text.length && (isWord(text[end + 1]) || text[end + 1] === "$") ? -1 : end;
}

// Match TeX on lines of its own. It may contain blank lines, and lines that look like lists or headings.
function blockMath(state, first, last, silent) {
  const start = state.bMarks[first] + state.tShift[first];
  const closing = TEX[state.src.slice(start, start + 2)];
  if (!closing || closing === "\\)") return false;
  const end = find(state.src, closing, start + 2, MAX_TEX_CHARACTERS - 2);
  REST_OF_LINE.lastIndex = end + 2;
  if (end < 0 || !REST_OF_LINE.test(state.src)) return false;
  const lines = [];
  let line = first;
  for (; ; line += 1) {
    if (line >= last) return false;
    if (line > first && state.sCount[line] < state.blkIndent && state.bMarks[line] < state.eMarks[line]) return false;
    const begin = line === first ? start + 2 : state.bMarks[line] + Math.min(state.tShift[line], state.blkIndent);
    lines.push(state.src.slice(begin, Math.min(state.eMarks[line], Math.max(begin, end))));
    if (end <= state.eMarks[line]) break;
  }
  const content = lines.join("\n").trim();
  if (content && !silent) {
    const token = state.push("math_block", "p", 0);
    token.content = content;
    token.map = [first, line + 1];
    state.line = line + 1;
  }
  return Boolean(content);
}

// Set the direction of blocks, the alignment of cells, the marks of task lists, and which images are inside links.
function annotate({ tokens }) {
  tokens.forEach((token, index) => {
    if (token.children) markLinkedImages(token.children);
    if (BIDI_BLOCKS.has(token.type) && token.level === 0) token.attrSet("dir", "auto");
    if (token.type === "heading_open" || token.type === "heading_close") token.tag = `h${Math.min(Number(token.tag[1]) + HEADING_OFFSET, 6)}`;
    if (token.type === "th_open" || token.type === "td_open") {
      const style = token.attrGet("style");
      token.attrs = [["dir", "auto"]];
      if (style) token.attrSet("align", style.split(":")[1]);
    }
    if (token.type === "list_item_open" && tokens[index + 1].type === "paragraph_open") markTask(token, tokens[index + 2].children[0]);
  });
}

function markLinkedImages(tokens) {
  let depth = 0;
  for (const token of tokens) {
    depth += (token.type === "link_open") - (token.type === "link_close");
    if (token.type === "image") token.meta = { linked: depth > 0 };
  }
}

function markTask(item, text) {
  const found = text?.type === "text" && TASK.exec(text.content);
  if (!found) return;
  item.attrSet("class", "task");
  text.content = `${found[1] === " " ? "☐" : "☑"} ${text.content.slice(found[0].length)}`;
}

function makeParser() {
  const parser = new MarkdownIt("commonmark", { html: false, breaks: true, linkify: true, xhtmlOut: false });
  parser.enable(["table", "strikethrough", "linkify"]).disable(["escape", "code"]).use(footnotes);
  parser.validateLink = (url) => SAFE_LINK.test(url);
  parser.linkify.set({ fuzzyLink: false, fuzzyEmail: false, fuzzyIP: false });
  parser.inline.ruler.before("escape", "name", name);
  parser.inline.ruler.before("escape", "math", inlineMath);
  parser.block.ruler.before("fence", "math_block", blockMath, { alt: ["paragraph", "reference", "blockquote", "list"] });
  parser.core.ruler.push("annotate", annotate);
  const escape = parser.utils.escapeHtml;
  const number = (token) => String(token.meta.id + 1);
  const reference = (token) => number(token) + (token.meta.subId > 0 ? `:${token.meta.subId}` : "");
  Object.assign(parser.renderer.rules, {
    // Loading an image would reveal the reader's address to its server.
    image(tokens, index, options, env, renderer) {
      const label = escape(renderer.renderInlineAsText(tokens[index].children, options, env) || "image");
      return tokens[index].meta.linked ? label : `<a href="${escape(tokens[index].attrGet("src"))}">${label}</a>`;
    },
    fence(tokens, index) {
      const language = LANGUAGE.exec(tokens[index].info.trim())?.[0] ?? "text";
      const code = escape(tokens[index].content);
      return `<figure class="code"><figcaption>${language}</figcaption><pre dir="ltr" tabindex="0"><code class="language-${language}">${code}</code></pre></figure>\n`;
    },
    math: (tokens, index) => `<code class="math${tokens[index].meta.display ? " display" : ""}" dir="ltr">${escape(tokens[index].content)}</code>`,
    math_block: (tokens, index) => `<p class="math"><code class="math display" dir="ltr">${escape(tokens[index].content)}</code></p>\n`,
    table_open: () => '<div class="table" tabindex="0"><table>\n',
    table_close: () => "</table></div>\n",
    footnote_block_open: () => '<section class="footnotes"><ol>\n',
    footnote_block_close: () => "</ol></section>\n",
    footnote_ref: (tokens, index, _, env) => `<sup><a href="#fn${env.message}-${number(tokens[index])}" id="fnref${env.message}-${reference(tokens[index])}">[${number(tokens[index])}]</a></sup>`,
    footnote_open: (tokens, index, _, env) => `<li id="fn${env.message}-${number(tokens[index])}">`,
    footnote_anchor: (tokens, index, _, env) => ` <a href="#fnref${env.message}-${reference(tokens[index])}">↩</a>`,
  });
  return parser;
}

const parser = makeParser();

// Parse `text` into markdown-it's tokens. `env` carries link references from one part of a text to the next; `env.message` is the
// message's number on the page, for the ids of footnotes.
export const parse = (text, env) => parser.parse(text, env);
export const renderTokens = (tokens, env) => parser.renderer.render(tokens, parser.options, env);
export const toHtml = (text, message = 1) => parser.render(text, { message: String(message) });
