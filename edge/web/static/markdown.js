// Renders Markdown as DOM elements. Nothing is ever parsed as HTML, so messages cannot inject any.
"use strict";

const Markdown = (() => {
  const SAFE_LINK = /^(https?:\/\/|mailto:)/i;
  // In order: verbatim text (TeX, names such as __init__), code, link, URL, bold, italic. Everything else is plain text.
  const INLINE = /(\\\([\s\S]+?\\\)|\\\[[\s\S]+?\\\]|\$\$[\s\S]+?\$\$|(?<!\w)__[A-Za-z0-9]+__(?!\w))|(`+)([\s\S]+?)\2|\[([^\]\n]*)\]\(([^()\s]*(?:\([^()\s]*\)[^()\s]*)*)\)|(https?:\/\/[^\s<>()]+[^\s<>().,;:!?'"])|\*\*([\s\S]+?)\*\*|(?<!\w)__(?=\S)([\s\S]+?)__(?!\w)|\*([^*\s](?:[^*]*[^*\s])?)(?:(?<=\w)\*|\*(?!\w))|(?<!\w)_([^_\s](?:[^_]*[^_\s])?)_(?!\w)/;
  const FENCE = /^ {0,3}(```+|~~~+)\s*([\w+#.-]*)/;
  const ITEM = /^( *)([-*+]|\d{1,9}[.)])\s+(.*)$/;
  const MAX_DEPTH = 8;

  function element(tag, children = []) {
    const made = document.createElement(tag);
    made.append(...children);
    return made;
  }

  function link(address, children) {
    if (!SAFE_LINK.test(address)) return children;
    const made = element("a", children);
    made.href = address;
    made.rel = "noopener noreferrer nofollow";
    made.target = "_blank";
    return [made];
  }

  function inline(text, depth = 0) {
    const nodes = [];
    while (text) {
      const found = depth < MAX_DEPTH ? INLINE.exec(text) : null;
      if (!found) {
        nodes.push(text);
        break;
      }
      if (found.index) nodes.push(text.slice(0, found.index));
      const [all, verbatim, , code, words, target, address, bold, strong, italic, stress] = found;
      if (verbatim !== undefined) nodes.push(verbatim);
      else if (code !== undefined) nodes.push(element("code", [code]));
      else if (target !== undefined) nodes.push(...link(target, inline(words || target, depth + 1)));
      else if (address !== undefined) nodes.push(...link(address, [address]));
      else if ((bold ?? strong) !== undefined) nodes.push(element("strong", inline(bold ?? strong, depth + 1)));
      else nodes.push(element("em", inline(italic ?? stress, depth + 1)));
      text = text.slice(found.index + all.length);
    }
    return nodes;
  }

  function paragraph(lines) {
    const made = element("p");
    lines.forEach((line, index) => {
      if (index) made.append(document.createElement("br"));
      made.append(...inline(line.trim()));
    });
    return made;
  }

  function list(lines, depth) {
    const ordered = /\d/.test(ITEM.exec(lines[0])[2][0]);
    const made = element(ordered ? "ol" : "ul");
    if (ordered) made.start = Number.parseInt(ITEM.exec(lines[0])[2], 10);
    const indent = ITEM.exec(lines[0])[1].length;
    let item = [];
    const close = () => { if (item.length) made.append(element("li", blocks(item, depth + 1, true))); };
    for (const line of lines) {
      const found = ITEM.exec(line);
      if (found && found[1].length <= indent + 1) {
        close();
        item = [found[3]];
      } else item.push(line.replace(/^ {1,4}/, ""));
    }
    close();
    return made;
  }

  function cells(line) {
    return line.trim().replace(/^\||\|$/g, "").split("|").map((cell) => cell.trim());
  }

  function table(lines) {
    const row = (tag, line) => element("tr", cells(line).map((cell) => element(tag, inline(cell))));
    const made = element("table", [element("thead", [row("th", lines[0])]), element("tbody", lines.slice(2).map((line) => row("td", line)))]);
    const box = element("div", [made]);
    box.className = "table";
    box.tabIndex = 0;
    return box;
  }

  // Return the end of the run of lines after `start` for which `goes` is true.
  function run(lines, start, goes) {
    let end = start + 1;
    while (end < lines.length && goes(lines[end], end)) end += 1;
    return end;
  }

  function blocks(lines, depth = 0, tight = false) {
    const nodes = [];
    let at = 0;
    while (at < lines.length) {
      const line = lines[at];
      const fence = FENCE.exec(line);
      let end = at + 1;
      if (!line.trim()) { /* between blocks */ }
      else if (fence) {
        end = run(lines, at, (next) => !next.trim().startsWith(fence[1]));
        const code = element("pre", [element("code", [lines.slice(at + 1, end).join("\n")])]);
        code.tabIndex = 0;
        nodes.push(code);
        end += 1;
      } else if (/^ {0,3}#{1,6}\s/.test(line)) {
        const [, marks, words] = /^ {0,3}(#{1,6})\s+(.*?)\s*#*$/.exec(line) ?? [null, "#", line];
        nodes.push(element(`h${Math.min(6, marks.length + 1)}`, inline(words)));
      } else if (/^ {0,3}([-*_])( *\1){2,} *$/.test(line)) nodes.push(element("hr"));
      else if (/^ {0,3}>/.test(line) && depth < MAX_DEPTH) {
        end = run(lines, at, (next) => /^ {0,3}>/.test(next));
        nodes.push(element("blockquote", blocks(lines.slice(at, end).map((quoted) => quoted.replace(/^ {0,3}> ?/, "")), depth + 1)));
      } else if (ITEM.test(line) && depth < MAX_DEPTH) {
        end = run(lines, at, (next, index) => ITEM.test(next) || /^\s+\S/.test(next) || (!next.trim() && index + 1 < lines.length && (ITEM.test(lines[index + 1]) || /^\s+\S/.test(lines[index + 1]))));
        nodes.push(list(lines.slice(at, end), depth));
      } else if (line.includes("|") && /^[\s|:-]+$/.test(lines[at + 1] ?? "") && (lines[at + 1] ?? "").includes("-")) {
        end = run(lines, at, (next) => next.includes("|"));
        nodes.push(table(lines.slice(at, end)));
      } else {
        end = run(lines, at, (next) => next.trim() && !FENCE.test(next) && !/^ {0,3}(#{1,6}\s|>)/.test(next) && !ITEM.test(next));
        if (tight && nodes.length === 0) nodes.push(...inline(lines.slice(at, end).map((part) => part.trim()).join(" ")));
        else nodes.push(paragraph(lines.slice(at, end)));
      }
      at = end;
    }
    return nodes;
  }

  // Replace the content of `place` with the rendered `text`.
  function show(place, text) {
    place.replaceChildren(...blocks(text.split("\n")));
  }

  return { show };
})();
