// Shows one message: its text, attachments, state, cost and buttons.
import { t } from "../i18n.js";
import { signedIn } from "./api.js";
import { button, copyText, create, formatNumber, link, timeElement } from "./dom.js";
import { dataUrl } from "./request_body.js";

let markdown; // the module, once it has loaded
let loadingMarkdown;

// Show Markdown in an element. Until its module has loaded, the plain text is shown.
async function showMarkdown(element, text, options) {
  if (!markdown) {
    element.classList.add("plain");
    element.textContent = text;
    try {
      markdown = await (loadingMarkdown ??= import("../markdown.js"));
    } catch {
      loadingMarkdown = undefined; // offline: try again with the next text
      return null;
    }
  }
  return markdown.renderMarkdown(element, text, options);
}

export function creditsText(credits) {
  return credits === 1 ? t("1 credit") : t("{credits} credits", { credits: formatNumber(credits) });
}

// A button that copies text, and shows “Copied” for a moment.
export function copyButton(label, text, properties = {}) {
  const made = button(label, async () => {
    await copyText(text());
    made.textContent = t("Copied");
    made.removeAttribute("aria-label");
    setTimeout(() => {
      made.textContent = label;
      if (properties["aria-label"]) made.setAttribute("aria-label", properties["aria-label"]);
    }, 1500);
  }, { class: "quiet", ...properties });
  return made;
}

// `actions` are the conversation's: retry, retryWith, edit, walk, continueWith, signInUrl. `extras` are functions of a message that
// return further buttons, such as reading aloud. `grown` is called when the size of the text has changed.
export class MessageView {
  constructor(message, actions, extras, grown) {
    this.message = message;
    this.grown = grown;
    this.actions = actions;
    this.extras = extras;
    const mine = message.role === "user";
    this.element = create("article", { class: mine ? "message mine" : "message answer", id: `message-${message.id}`, data: { role: message.role } });
    this.body = create("div", { class: mine ? "bubble" : "said", dir: "auto" });
    this.files = create("div", { class: "files", hidden: true });
    this.outcome = create("div", { class: "outcome" });
    this.tools = create("div", { class: "message-tools" });
    if (mine) this.element.append(this.files, this.body, this.tools);
    else {
      this.label = create("p", { class: "message-model small soft" });
      this.element.append(this.label, this.body, this.files, this.outcome, this.tools);
    }
    this.element.setAttribute("aria-label", mine ? t("You") : t("Answer of {model}", { model: message.model ?? "" }));
  }

  // Show the message's current text. While it is streamed, the text is rendered at most once per frame.
  update(message, { streaming = false, position = [0, 1], chosen = null } = {}) {
    this.message = message;
    this.streaming = streaming;
    this.element.classList.toggle("streaming", streaming);
    if (message.role === "user") this.body.textContent = message.text;
    else this.updateAnswer();
    this.updateFiles();
    const tools = streaming ? [] : this.buttons(position, chosen);
    this.tools.replaceChildren(...tools);
    this.tools.hidden = tools.length === 0;
  }

  updateAnswer() {
    const { message } = this;
    this.label.textContent = message.model ?? "";
    this.updateText(message);
    this.outcome.replaceChildren(...this.outcomeNodes());
  }

  updateText(message) {
    this.message = message;
    if (message.reasoning && !this.reasoning) {
      this.reasoning = create("div", { class: "reasoning-text", dir: "auto" });
      this.thought = create("details", { class: "reasoning" }, create("summary", { textContent: t("Reasoning") }), this.reasoning);
      this.body.before(this.thought);
    }
    if (this.reasoning && this.reasoning.textContent !== message.reasoning) this.reasoning.textContent = message.reasoning ?? "";
    this.body.classList.toggle("waiting", this.streaming && !message.text);
    if (message.text !== this.rendered || this.streaming !== this.renderedStreaming) {
      [this.rendered, this.renderedStreaming] = [message.text, this.streaming];
      showMarkdown(this.body, message.text, { streaming: this.streaming }).then(this.grown);
    }
  }

  updateFiles() {
    const { attachments = [] } = this.message;
    if (attachments.length === this.files.childElementCount) return;
    this.files.hidden = attachments.length === 0;
    this.files.replaceChildren(...attachments.map((attachment) => {
      if (!attachment.type.startsWith("image/")) return create("span", { class: "file", textContent: attachment.name });
      const image = create("img", { alt: attachment.name, title: attachment.name });
      dataUrl(attachment.bytes, attachment.type).then((url) => { image.src = url; });
      return image;
    }));
  }

  // Notes and errors of an answer that did not complete normally.
  outcomeNodes() {
    const { message } = this;
    if (message.status === "stopped") return [create("p", { class: "note", textContent: stoppedText(message) })];
    if (message.status === "failed") return [this.failure()];
    if (message.finish_reason === "length") return [create("p", { class: "note", textContent: t("The answer reached its length limit.") })];
    if (message.finish_reason === "credits") return [create("p", { class: "note", textContent: t("The answer ended because your credits were used up.") })];
    return [];
  }

  failure() {
    const { message, actions } = this;
    const error = message.error ?? {};
    const buttons = [];
    const offer = (label, act, properties) => buttons.push(button(label, act, properties));
    if (error.code === "sign_in_required") {
      buttons.push(create("a", { class: "button small primary", href: actions.signInUrl(), textContent: t("Sign in") }));
    } else if (error.code === "insufficient_credits") {
      for (const { id, worst } of error.cheaper_models ?? []) {
        offer(t("Use {model}, at most {credits}", { model: id, credits: creditsText(worst) }), () => actions.retry(message, id), { class: "small", data: { model: id } });
      }
      buttons.push(link("/account", t("Your balance")));
    } else if (error.code === "daily_allowance_exhausted") {
      buttons.push(create("a", { class: "button small", href: actions.signInUrl(), textContent: t("Sign in") }));
    }
    if (error.successor) offer(t("Use {model}", { model: error.successor }), () => actions.retry(message, error.successor), { class: "small" });
    const again = error.code === "network" ? t("Send again") : t("Try again");
    offer(again, () => actions.retry(message), { class: "small resend" });
    offer(t("Try another model"), () => actions.retryWith(message), { class: "small" });
    const id = message.request_id ?? error.request_id;
    return create(
      "div",
      { class: "failure" },
      create("p", { textContent: error.message ?? t("The answer failed.") }),
      message.text && message.credits ? create("p", { class: "small soft", textContent: t("{credits} charged for what was delivered.", { credits: creditsText(message.credits) }) }) : null,
      create("div", { class: "buttons" }, ...buttons),
      id ? create("p", { class: "small soft request-id" }, `${t("Request ID")}: `, create("code", { textContent: id }), copyButton(t("Copy"), () => id, { "aria-label": t("Copy the request ID") })) : null,
    );
  }

  buttons(position, chosen) {
    const { message, actions } = this;
    const found = [...this.walker(position)];
    if (message.role === "user") {
      found.push(button(t("Edit"), () => this.edit(), { class: "quiet edit" }), copyButton(t("Copy"), () => message.text));
    } else {
      if (message.text) found.push(copyButton(t("Copy"), () => message.text));
      if (message.status !== "failed") {
        found.push(button(t("Retry"), () => actions.retry(message), { class: "quiet retry" }));
        found.push(button(t("Retry with…"), () => actions.retryWith(message), { class: "quiet retry-with", "aria-label": t("Retry with another model") }));
      }
    }
    for (const extra of this.extras) found.push(...[extra(message)].flat().filter(Boolean));
    if (chosen === false) found.unshift(button(t("Continue with this answer"), () => actions.continueWith(message), { class: "small continue" }));
    if (chosen === true) found.unshift(create("span", { class: "tag", textContent: t("Continued") }));
    const facts = create("span", { class: "facts-line small soft" });
    if (message.role === "assistant" && message.credits !== undefined) {
      const cost = message.status === "failed" && message.credits === 0 ? t("Nothing was charged") : creditsText(message.credits);
      const hasReceipt = signedIn && message.request_id && (message.credits > 0 || message.status === "complete");
      const receipt = hasReceipt ? { href: `/calls/${encodeURIComponent(message.request_id)}` } : null;
      facts.append(create(receipt ? "a" : "span", { class: "cost", textContent: cost, title: tokensText(message), ...receipt }));
    }
    facts.append(timeElement(message.created_at));
    return [...found, facts];
  }

  *walker([index, count]) {
    if (count < 2) return;
    const { message, actions } = this;
    const step = (label, name, by) => button(label, () => actions.walk(message, by), { class: "quiet step", "aria-label": name, disabled: index + by < 0 || index + by >= count, data: { step: by } });
    yield create(
      "span",
      { class: "walker", role: "group", "aria-label": t("Versions") },
      step("‹", t("Previous version"), -1),
      create("span", { class: "walker-position", textContent: t("{number}/{count}", { number: index + 1, count }) }),
      step("›", t("Next version"), 1),
    );
  }

  // Replace a user message with a form.
  edit() {
    const { message } = this;
    const input = create("textarea", { class: "edit-text", value: message.text, rows: 3, dir: "auto", "aria-label": t("Edit your message") });
    const close = () => {
      form.replaceWith(this.body);
      this.tools.hidden = false;
      this.tools.querySelector(".edit")?.focus();
    };
    const submit = () => {
      const text = input.value.trim();
      if (!text) return;
      close();
      this.actions.edit(message, text);
    };
    const form = create(
      "form",
      {
        class: "edit-form",
        on: {
          submit: (event) => { event.preventDefault(); submit(); },
          keydown: (event) => {
            if (event.key === "Escape") { event.stopPropagation(); close(); }
            if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); submit(); }
          },
        },
      },
      input,
      create("div", { class: "buttons" }, create("button", { class: "primary small", textContent: t("Send again") }), button(t("Cancel"), close, { class: "small" })),
    );
    this.body.replaceWith(form);
    this.tools.hidden = true;
    input.style.height = `${Math.min(input.scrollHeight + 2, 400)}px`;
    input.focus();
    input.setSelectionRange(input.value.length, input.value.length);
  }
}

function stoppedText(message) {
  if (message.credits === undefined) return t("Stopped.");
  if (message.credits === 0) return t("Stopped. Nothing was charged.");
  return t("Stopped. {credits} charged.", { credits: creditsText(message.credits) });
}

function tokensText(message) {
  const { input, output } = message.tokens ?? {};
  if (input === undefined || output === undefined) return "";
  return t("{input} tokens in, {output} tokens out", { input: formatNumber(input), output: formatNumber(output) });
}
