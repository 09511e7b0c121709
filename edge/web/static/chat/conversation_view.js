// Shows the messages of the open conversation: one list item per turn, with answers of two models side by side.
import { create } from "./dom.js";
import { MessageView } from "./message_view.js";

export class ConversationView {
  constructor(list, scroller, actions) {
    this.list = list;
    this.scroller = scroller;
    this.actions = actions;
    this.extras = [];
    this.views = new Map();
    this.frame = 0;
    this.pending = new Set();
  }

  // Show a conversation's branch. Views of messages that stay are reused, so that focus and selections stay, too.
  show(conversation) {
    if (this.conversation !== conversation) {
      this.conversation = conversation;
      this.views.clear();
      this.list.replaceChildren();
    }
    const turns = conversation.path.map((message) => conversation.tree.groupOf(message));
    const shown = new Set(turns.flat().map((message) => message.id));
    for (const id of this.views.keys()) if (!shown.has(id)) this.views.delete(id);
    const items = turns.map((group) => this.item(group));
    const kept = new Set(items);
    for (const item of [...this.list.children]) if (!kept.has(item)) item.remove();
    items.forEach((item, index) => {
      if (this.list.children[index] !== item) this.list.insertBefore(item, this.list.children[index] ?? null);
    });
    for (const message of turns.flat()) this.update(message, conversation.path);
    this.scroller.changed();
  }

  item(group) {
    const views = group.map((message) => this.view(message));
    const existing = views[0].element.parentElement;
    const item = existing?.childElementCount === views.length ? existing : create("li", { class: "turn" });
    item.classList.toggle("side-by-side", views.length > 1);
    if (item !== existing || item.childElementCount !== views.length) item.replaceChildren(...views.map((view) => view.element));
    return item;
  }

  view(message) {
    if (!this.views.has(message.id)) this.views.set(message.id, new MessageView(message, this.actions, this.extras, () => this.scroller.changed()));
    return this.views.get(message.id);
  }

  update(message, path = this.conversation.path) {
    const { tree } = this.conversation;
    const group = tree.groupOf(message);
    const continues = path.at(-1)?.parent !== message.parent;
    const chosen = group.length < 2 || message.status === "failed" ? null : path.some(({ id }) => id === message.id) ? (continues ? true : null) : false;
    this.views.get(message.id)?.update(message, {
      streaming: message.status === "streaming",
      position: group[0].id === message.id || message.role === "user" ? tree.position(message) : [0, 1],
      chosen,
    });
  }

  // Show new text of an answer, at most once per frame.
  grow(message) {
    this.pending.add(message);
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      for (const one of this.pending) {
        const view = this.views.get(one.id);
        view?.updateText(one);
        view?.updateFiles();
      }
      this.pending.clear();
      this.scroller.changed();
    });
  }

  // Scroll the error into view.
  reveal(message) {
    const outcome = this.views.get(message.id)?.outcome;
    if (outcome?.childElementCount) this.scroller.show(outcome);
  }
}
