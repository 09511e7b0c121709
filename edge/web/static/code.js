// Code blocks: a copy button on each, and tabs for blocks that show the same call in several languages.
import { t } from "./i18n.js";

const LANGUAGE = "yout-code-language"; // the language chosen last, in this browser's storage

function storedLanguage() {
  try { return localStorage.getItem(LANGUAGE); } catch { return null; } // storage may be blocked
}

function storeLanguage(name) {
  try { localStorage.setItem(LANGUAGE, name); } catch { /* the choice is then for this page only */ }
}

function addCopy(block) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = t("Copy");
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(block.textContent);
    button.textContent = t("Copied");
    setTimeout(() => { button.textContent = t("Copy"); }, 1500);
  });
  const frame = document.createElement("div");
  frame.className = "copied";
  block.replaceWith(frame);
  frame.append(block, button);
}

// Turn the sections of a group into tabs (arrow keys move between them).
function makeTabs(group, number) {
  const panels = [...group.querySelectorAll(":scope > section")];
  const list = document.createElement("div");
  list.className = "tabs";
  list.setAttribute("role", "tablist");
  list.setAttribute("aria-label", t("Programming language"));
  const tabs = panels.map((panel, index) => {
    const tab = document.createElement("button");
    const name = panel.getAttribute("aria-label");
    tab.type = "button";
    tab.textContent = name;
    tab.id = `tab-${number}-${index}`;
    tab.setAttribute("role", "tab");
    panel.id ||= `panel-${number}-${index}`;
    tab.setAttribute("aria-controls", panel.id);
    panel.setAttribute("role", "tabpanel");
    panel.removeAttribute("aria-label");
    panel.setAttribute("aria-labelledby", tab.id);
    panel.querySelector("h3")?.remove();
    tab.addEventListener("click", () => { select(name); storeLanguage(name); });
    list.append(tab);
    return tab;
  });
  const select = (name, focus = false) => {
    const chosen = tabs.find((tab) => tab.textContent === name) ?? tabs[0];
    tabs.forEach((tab, index) => {
      tab.setAttribute("aria-selected", String(tab === chosen));
      tab.tabIndex = tab === chosen ? 0 : -1;
      panels[index].hidden = tab !== chosen;
    });
    if (focus) chosen.focus();
  };
  list.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const from = tabs.indexOf(document.activeElement);
    if (!step || from < 0) return;
    event.preventDefault();
    const name = tabs[(from + step + tabs.length) % tabs.length].textContent;
    select(name, true);
    storeLanguage(name);
  });
  group.prepend(list);
  select(storedLanguage());
}

document.querySelectorAll("[data-codes]").forEach(makeTabs);
if (navigator.clipboard) document.querySelectorAll("pre").forEach(addCopy);
