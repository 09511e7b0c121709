// Reads Markdown texts as a JSON array from stdin, and writes their HTML by the chat's rules as a JSON array.
// Usage: node markdown.mjs <address of markdown_rules.js>
import { readFileSync } from "node:fs";

const { toHtml } = await import(process.argv[2]);
console.log(JSON.stringify(JSON.parse(readFileSync(0)).map((text) => toHtml(text))));
