// Keeps only harmless HTML, for text that others wrote.

const ELEMENTS = new Set([
  "p", "br", "hr", "blockquote", "pre", "code", "em", "strong", "s", "a", "sup", "h3", "h4", "h5", "h6", "ul", "ol", "li", "div", "figure",
  "figcaption", "section", "table", "thead", "tbody", "tr", "th", "td", "span",
]);
const ATTRIBUTES = new Set(["dir", "href", "title", "id", "class", "tabindex", "start", "align"]);
const SAFE_LINK = /^(https?:\/\/|mailto:|#fn)/i;

// Return `html` as nodes, with allowed elements and attributes only. The rules already guarantee this; it is a second safeguard.
export function sanitize(html) {
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
