// The list of conversations: search, folders, pins, rename, delete; import and export; and a notice if the browser does not save.
import { t, tn } from "../i18n.js";
import { askText, confirmAction } from "./dialogs.js";
import { button, create } from "./dom.js";
import { chooseImport, exportAll, exportConversation } from "./transfer.js";

const SEARCH_DELAY_MS = 150;
const FIRST_ROWS = 200; // more are shown on request, because a long list makes the page slow
const DAY_MS = 86_400_000;
const NARROW = matchMedia("(max-width: 860px)");

/** Put the sidebar into `element`, and the button that opens it into `tools`. See `Sidebar`. */
export function mountSidebar(element, options) {
  return new Sidebar(element, options);
}

/** Conversations in groups, in the order of the list: `[{name, folder, rows}]`. Pure. */
export function grouped(rows, now) {
  const today = new Date(now).setHours(0, 0, 0, 0);
  const folders = [...new Set(rows.filter((row) => row.folder && !row.pinned).map((row) => row.folder))].sort((a, b) => a.localeCompare(b));
  const loose = rows.filter((row) => !row.pinned && !row.folder);
  const groups = [
    { name: t("Pinned"), rows: rows.filter((row) => row.pinned) },
    ...folders.map((folder) => ({ name: folder, folder: true, rows: rows.filter((row) => row.folder === folder && !row.pinned) })),
    { name: t("Today"), rows: loose.filter((row) => row.updated_at >= today) },
    { name: t("Previous 7 days"), rows: loose.filter((row) => row.updated_at < today && row.updated_at >= today - 7 * DAY_MS) },
    { name: t("Older"), rows: loose.filter((row) => row.updated_at < today - 7 * DAY_MS) },
  ];
  return groups.filter((group) => group.rows.length);
}

// `options`: `store`; `open(id)` opens a conversation; `current()` is the id of the open one; `tools` is where the
// button goes that shows and hides the sidebar; `main` is what the drawer covers on a phone; `notify(text)`; `actions` are further
// entries of a conversation's menu, `[{label, act(conversation)}]`; `footer` are further buttons below the list; `deleting(conversation)`
// is called before one is deleted and may return a sentence for the confirmation.
class Sidebar {
  constructor(element, options) {
    this.element = element;
    this.options = { actions: [], footer: [], deleting: () => "", notify: () => {}, ...options };
    this.store = options.store;
    this.closedFolders = new Set();
    this.rowLimit = FIRST_ROWS;
    this.build();
    this.store.onChange((change) => this.changed(change));
    this.store.onStatus(() => this.showStatus());
    addEventListener("beforeunload", (event) => {
      if (this.store.status.unsaved) event.preventDefault();
    });
    NARROW.addEventListener("change", () => this.setOpen(!NARROW.matches));
    this.setOpen(!NARROW.matches);
    this.showStatus();
    this.ready = this.load();
  }

  async load() {
    this.closedFolders = new Set(await this.store.setting("closed_folders", []));
    await this.refresh();
  }

  build() {
    this.notice = create("div", { class: "side-notice", role: "status", hidden: true });
    this.search = create("input", {
      type: "search",
      class: "side-search",
      placeholder: t("Search conversations"),
      "aria-label": t("Search conversations"),
      autocomplete: "off",
      on: { input: () => this.searched(), keydown: (event) => this.searchKey(event) },
    });
    this.found = create("p", { class: "hidden", role: "status" });
    this.list = create("nav", { class: "side-list", "aria-label": t("Conversations") });
    this.list.addEventListener("keydown", (event) => this.listKey(event));
    const close = button(t("Close"), () => this.setOpen(false), { class: "quiet side-close" });
    const footer = create(
      "div",
      { class: "side-footer" },
      button(t("Import"), () => chooseImport(this.store, (text) => this.options.notify(text)), { class: "quiet" }),
      button(t("Export all"), () => exportAll(this.store), { class: "quiet" }),
      ...this.options.footer,
    );
    const head = create("div", { class: "side-head" }, this.search, close);
    this.element.replaceChildren(head, this.notice, this.found, this.list, footer);
    this.element.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && NARROW.matches && !event.defaultPrevented) this.setOpen(false);
    });
    this.toggle = button(t("Conversations"), () => this.setOpen(!this.isOpen), { class: "quiet side-toggle", "aria-controls": this.element.id });
    this.options.tools.replaceChildren(this.toggle);
    this.backdrop = create("div", { class: "side-backdrop", hidden: true, on: { click: () => this.setOpen(false) } });
    this.element.after(this.backdrop);
  }

  // Showing and hiding: a column on a wide screen, a drawer on a phone.

  setOpen(open) {
    const focused = this.element.contains(document.activeElement);
    this.isOpen = open;
    this.element.classList.toggle("open", open);
    this.element.inert = !open;
    this.toggle.setAttribute("aria-expanded", String(open));
    const covers = open && NARROW.matches;
    this.backdrop.hidden = !covers;
    this.options.main.inert = covers;
    if (covers) this.search.focus();
    else if (focused && !open) this.toggle.focus();
  }

  openRow(id) {
    if (NARROW.matches) this.setOpen(false);
    this.options.open(id);
  }

  // The list.

  changed({ kind, id }) {
    if (kind === "message" || kind === "draft") return;
    if (kind === "setting" && id !== "closed_folders") return;
    if (kind === "conversation" && this.store.status.problem === null && !this.askedToPersist) {
      this.askedToPersist = true;
      this.store.requestPersistence();
    }
    clearTimeout(this.refreshTimer);
    this.refreshTimer = setTimeout(() => this.refresh(), 50);
  }

  searched() {
    clearTimeout(this.refreshTimer);
    this.refreshTimer = setTimeout(() => this.refresh(), SEARCH_DELAY_MS);
  }

  /** Read the conversations again and show them. */
  async refresh() {
    clearTimeout(this.refreshTimer);
    const text = this.search.value.trim();
    const results = text ? await this.store.search(text) : (await this.store.conversations()).map((conversation) => ({ conversation, excerpt: "" }));
    if (this.search.value.trim() !== text) return; // the text has changed meanwhile
    this.results = results;
    this.show();
  }

  show() {
    const { results } = this;
    const text = this.search.value.trim();
    const focused = this.list.contains(document.activeElement) ? document.activeElement.dataset.focus : null;
    this.found.textContent = text ? tn("{count} conversation found", "{count} conversations found", results.length) : "";
    const shown = results.slice(0, this.rowLimit);
    const excerpts = new Map(shown.map(({ conversation, excerpt }) => [conversation.id, excerpt]));
    const rows = shown.map(({ conversation }) => conversation);
    const groups = text ? [{ name: "", rows }] : grouped(rows, Date.now());
    const nodes = groups.map((group) => this.group(group, excerpts));
    if (!rows.length) {
      nodes.push(create("p", { class: "side-empty", textContent: text ? t("No conversation contains these words.") : t("Your conversations appear here. They are kept in this browser.") }));
    }
    if (results.length > shown.length) nodes.push(button(t("Show all"), () => this.showAll(), { class: "quiet" }));
    this.list.replaceChildren(...nodes);
    if (focused) this.list.querySelector(`[data-focus="${CSS.escape(focused)}"]`)?.focus();
  }

  showAll() {
    this.rowLimit = Infinity;
    this.show();
  }

  /** Mark the conversation that is open now. */
  mark() {
    const current = this.options.current();
    for (const link of this.list.querySelectorAll(".side-link")) {
      if (link.dataset.id === current) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
  }

  group({ name, folder, rows }, excerpts) {
    const list = create("ul", {}, ...rows.map((row) => this.row(row, excerpts.get(row.id))));
    if (!folder) return create("section", { class: "side-group" }, name ? create("h2", { textContent: name }) : null, list);
    const summary = create("summary", { data: { focus: `folder ${name}` } }, create("bdi", { textContent: name }), create("span", { class: "side-count", textContent: String(rows.length) }));
    const details = create("details", { class: "side-group side-folder", open: !this.closedFolders.has(name) }, summary, list);
    details.addEventListener("toggle", () => {
      if (details.open === !this.closedFolders.has(name)) return; // set by us
      if (details.open) this.closedFolders.delete(name);
      else this.closedFolders.add(name);
      this.store.saveSetting("closed_folders", [...this.closedFolders]);
    });
    return details;
  }

  row(conversation, excerpt) {
    const title = conversation.title || t("Untitled conversation");
    const link = create(
      "a",
      { class: "side-link", href: `/#${conversation.id}`, dir: "auto", data: { id: conversation.id, focus: `open ${conversation.id}` } },
      create("span", { class: "side-title", textContent: title }),
      excerpt ? create("span", { class: "side-excerpt", textContent: excerpt }) : null,
    );
    if (conversation.id === this.options.current()) link.setAttribute("aria-current", "page");
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      this.openRow(conversation.id);
    });
    const more = button("⋯", () => this.openMenu(more, conversation), {
      class: "quiet side-more",
      "aria-label": t("Actions for {title}", { title }),
      "aria-haspopup": "menu",
      data: { focus: `menu ${conversation.id}` },
    });
    return create("li", { class: "side-row" }, link, more);
  }

  // Keyboard: arrow keys move through the list, from the search field and back.

  searchKey(event) {
    if (event.key === "ArrowDown") {
      event.preventDefault();
      this.list.querySelector(".side-link")?.focus();
    } else if (event.key === "Escape" && this.search.value) {
      event.preventDefault();
      this.search.value = "";
      this.refresh();
    }
  }

  listKey(event) {
    if (!["ArrowDown", "ArrowUp"].includes(event.key)) return;
    const links = [...this.list.querySelectorAll(".side-link")].filter((link) => link.checkVisibility());
    const index = links.indexOf(event.target.closest(".side-row")?.querySelector(".side-link"));
    if (index < 0) return;
    event.preventDefault();
    const next = index + (event.key === "ArrowDown" ? 1 : -1);
    (next < 0 ? this.search : links[Math.min(next, links.length - 1)]).focus();
  }

  // The menu of a conversation.

  openMenu(anchor, conversation) {
    const entry = (label, act, properties = {}) => {
      const made = button(label, () => {
        menu.hidePopover();
        anchor.focus();
        act(conversation);
      }, { class: "menu-item", role: "menuitem", tabIndex: -1, ...properties });
      return made;
    };
    const menu = create(
      "div",
      { class: "menu-popover", role: "menu", "aria-label": t("Actions for {title}", { title: conversation.title || t("Untitled conversation") }) },
      entry(t("Rename"), (row) => this.rename(row)),
      entry(conversation.pinned ? t("Unpin") : t("Pin"), (row) => this.store.updateConversation(row.id, { pinned: !row.pinned })),
      entry(t("Move to a folder"), (row) => this.move(row)),
      ...this.options.actions.map(({ label, act }) => entry(label, act)),
      entry(t("Export as Markdown"), (row) => exportConversation(this.store, row.id, "md")),
      entry(t("Export as JSON"), (row) => exportConversation(this.store, row.id, "json")),
      entry(t("Delete"), (row) => this.remove(row), { class: "menu-item bad" }),
    );
    menu.setAttribute("popover", "auto");
    menu.addEventListener("toggle", (event) => {
      if (event.newState === "closed") menu.remove();
    });
    menu.addEventListener("keydown", (event) => {
      const items = [...menu.children];
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (event.key === "Tab") menu.hidePopover();
      if (event.key === "Escape") event.preventDefault(); // closes the menu, not the drawer
      if (event.key === "Escape" || event.key === "Tab") {
        menu.hidePopover();
        anchor.focus();
      }
      if (!step) return;
      event.preventDefault();
      items[(items.indexOf(document.activeElement) + step + items.length) % items.length].focus();
    });
    this.element.append(menu);
    menu.showPopover();
    place(menu, anchor);
    menu.firstElementChild.focus();
  }

  async rename({ id, title }) {
    const name = await askText({ title: t("Rename conversation"), label: t("Title"), value: title, action: t("Rename") });
    if (name) await this.store.updateConversation(id, { title: name });
  }

  async move({ id, folder }) {
    const folders = [...new Set((await this.store.conversations()).map((row) => row.folder).filter(Boolean))].sort();
    const name = await askText({
      title: t("Move to a folder"),
      label: t("Folder"),
      value: folder,
      help: t("Choose a folder or type a new name. Leave it empty to take the conversation out of its folder."),
      suggestions: folders,
      action: t("Move"),
      optional: true,
      maxLength: 60,
    });
    if (name !== null) await this.store.updateConversation(id, { folder: name });
  }

  async remove(conversation) {
    const more = this.options.deleting(conversation);
    const confirmed = await confirmAction({
      title: t("Delete this conversation?"),
      paragraphs: [t("“{title}” is deleted with all its messages and files. This cannot be undone.", { title: conversation.title || t("Untitled conversation") }), more].filter(Boolean),
      action: t("Delete conversation"),
    });
    if (confirmed) await this.store.deleteConversation(conversation.id);
  }

  // The notice if the browser does not save.

  showStatus() {
    const { problem, unsaved } = this.store.status;
    this.notice.hidden = problem === null;
    if (problem === null) return;
    const texts = {
      unavailable: t("This browser does not let this site save anything, perhaps because of a private window or blocked cookies. Your conversations are lost when you close this tab."),
      full: tn(
        "The storage of this browser is full. {count} change is not saved and is lost when you close this tab. Delete conversations or free disk space.",
        "The storage of this browser is full. {count} changes are not saved and are lost when you close this tab. Delete conversations or free disk space.",
        unsaved,
      ),
      failed: tn(
        "The browser could not save {count} change. It is lost when you close this tab.",
        "The browser could not save {count} changes. They are lost when you close this tab.",
        unsaved,
      ),
    };
    this.notice.replaceChildren(create("p", { textContent: texts[problem] }), button(t("Export all"), () => exportAll(this.store), { class: "small" }));
    this.setOpen(true);
  }
}

/** Place a popover at the edge of `anchor` where there is room. */
function place(popover, anchor) {
  const from = anchor.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = popover;
  const top = from.bottom + height + 8 < innerHeight ? from.bottom + 4 : Math.max(8, from.top - height - 4);
  const left = Math.min(Math.max(8, from.right - width), innerWidth - width - 8);
  Object.assign(popover.style, { top: `${top}px`, left: `${left}px` });
}
