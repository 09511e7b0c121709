// The messages of a conversation as a tree: a retry or an edit adds a sibling, and the conversation shows the branch that ends at
// its leaf. Answers with the same `group` were generated side by side, and count as one alternative. Pure.

const byAge = (a, b) => a.created_at - b.created_at || (a.id < b.id ? -1 : 1);

// An answer that failed before any text. It is shown, but does not count as an alternative.
export function isEmptyFailure(message) {
  return message.role === "assistant" && message.status === "failed" && !message.text && !message.attachments?.length;
}

export class Tree {
  constructor(messages = []) {
    this.messages = new Map(messages.map((message) => [message.id, message]));
  }

  get(id) {
    return this.messages.get(id);
  }

  put(message) {
    this.messages.set(message.id, message);
  }

  // Return the children of a message, or of null: the first messages, oldest first.
  children(id) {
    return [...this.messages.values()].filter((message) => (message.parent ?? null) === (id ?? null)).sort(byAge);
  }

  // Return the branch from the first message to `leaf`. An unknown leaf means the newest branch.
  path(leaf) {
    const found = [];
    const seen = new Set();
    let message = this.get(leaf) ?? this.get(this.newestLeaf(null));
    while (message && !seen.has(message.id)) {
      seen.add(message.id);
      found.unshift(message);
      message = this.get(message.parent);
    }
    return found;
  }

  // Return the id of the last message below `id`, always taking the newest alternative; null if there is no message.
  newestLeaf(id) {
    const seen = new Set();
    let leaf = id;
    for (;;) {
      const alternatives = this.alternativesBelow(leaf);
      const next = alternatives.at(-1)?.[0];
      if (!next || seen.has(next.id)) return leaf ?? null;
      seen.add(next.id);
      leaf = next.id;
    }
  }

  // Return the alternatives below a message: each is a list of one message, or of the answers of a group.
  alternativesBelow(parent, shown = null) {
    const children = this.children(parent);
    const others = children.filter((message) => message.id === shown || !isEmptyFailure(message));
    const groups = new Map();
    for (const message of others.length ? others : children) {
      const key = message.group ?? message.id;
      groups.set(key, [...(groups.get(key) ?? []), message]);
    }
    return [...groups.values()];
  }

  // Return the answers shown side by side with a message, itself included.
  groupOf(message) {
    if (!message.group) return [message];
    return this.children(message.parent).filter((other) => other.group === message.group);
  }

  // Return the position of a message among its alternatives, from 0, and their number.
  position(message) {
    const alternatives = this.alternativesBelow(message.parent, message.id);
    return [alternatives.findIndex((group) => group.some((other) => other.id === message.id)), alternatives.length];
  }

  // Return the leaf to show after walking from a message to the alternative `step` further on, or null at the end.
  walk(message, step) {
    const alternatives = this.alternativesBelow(message.parent, message.id);
    const [index] = this.position(message);
    const target = alternatives[index + step]?.[0];
    return target ? this.newestLeaf(target.id) : null;
  }

  // Return the credits of all branches.
  totalCredits() {
    return [...this.messages.values()].reduce((sum, message) => sum + (message.credits ?? 0), 0);
  }
}
