// The dialog that chooses a model: search, filters and keyboard.
import { t, tn } from "../i18n.js";
import { button, create, formatNumber } from "./dom.js";

const HIDDEN_TAGS = new Set(["chat", "streaming", "test"]);

// The price of a model in words, in credits and USD.
export function priceText(model, creditsPerUsd) {
  const { credits_per_1k_input: input, credits_per_1k_output: output, credits_per_call: call } = model.pricing;
  if (!input && !output && !call) return t("No charge");
  const usd = (credits) => String(Number((credits / creditsPerUsd).toPrecision(3)));
  if (!input && !output) return `${t("{amount} credits per call", { amount: formatNumber(call) })} · ${t("{amount} USD per call", { amount: usd(call) })}`;
  const credits = { input: formatNumber(input * 1000), output: formatNumber(output * 1000) };
  const dollars = { input: usd(input * 1000), output: usd(output * 1000) };
  return `${t("Input {input}, output {output} credits per 1M tokens", credits)} · ${t("Input {input}, output {output} USD per 1M tokens", dollars)}`;
}

export function contextText(model) {
  if (!model.context_window) return "";
  const tokens = model.context_window;
  const short = tokens >= 1_000_000 ? `${Math.round(tokens / 100_000) / 10}M` : tokens >= 1000 ? `${Math.round(tokens / 1000)}K` : String(tokens);
  return t("{size} context", { size: short });
}

const FILTERS = [
  { name: "free", label: () => t("No account needed"), test: (model) => model.free },
  { name: "images", label: () => t("Image input"), test: (model) => model.input_modalities?.includes("image") },
  { name: "reasoning", label: () => t("Reasoning"), test: (model) => model.tags.includes("reasoning") },
  { name: "tools", label: () => t("Tools"), test: (model) => model.tags.includes("tools") },
];

export function matches(model, query) {
  const text = [model.id, model.provider, model.description, ...model.tags, model.free ? "free" : ""].join(" ").toLowerCase();
  return query.toLowerCase().split(/\s+/).every((word) => text.includes(word));
}

export class ModelPicker {
  constructor(models, creditsPerUsd) {
    this.models = models;
    this.creditsPerUsd = creditsPerUsd;
    this.filters = new Set();
    this.list = create("ul", { class: "picker-list", id: "picker-list", role: "listbox", "aria-label": t("Models") });
    this.search = create("input", {
      type: "search", class: "picker-search", id: "picker-search", autocomplete: "off", spellcheck: false, placeholder: t("Search models"),
      role: "combobox", "aria-expanded": "true", "aria-controls": "picker-list", "aria-autocomplete": "list", "aria-label": t("Search models"),
      on: { input: () => this.update(), keydown: (event) => this.key(event) },
    });
    this.status = create("p", { class: "picker-status small soft", role: "status" });
    this.heading = create("h2", { class: "picker-title", id: "picker-title" });
    const useful = FILTERS.filter(({ test }) => models.some(test) && !models.every(test));
    this.chips = create("div", { class: "chips", role: "group", "aria-label": t("Filters") }, ...useful.map((filter) => this.chip(filter)));
    this.dialog = create(
      "dialog",
      { class: "picker", "aria-labelledby": "picker-title", on: { close: () => this.closed(), click: (event) => this.outside(event) } },
      create("div", { class: "picker-head" }, this.heading, button(t("Close"), () => this.dialog.close(), { class: "quiet" })),
      this.search, this.chips, this.list, this.status,
    );
    document.body.append(this.dialog);
  }

  chip(filter) {
    return button(filter.label(), (event) => {
      const on = !this.filters.delete(filter);
      if (on) this.filters.add(filter);
      event.currentTarget.setAttribute("aria-pressed", String(on));
      this.update();
    }, { class: "chip", "aria-pressed": "false" });
  }

  // Open the dialog. Resolves to the chosen model's id, or null if it was closed without a choice.
  choose(current, title = t("Choose a model")) {
    this.current = current;
    this.chosen = null;
    this.heading.textContent = title;
    this.search.value = "";
    this.update();
    this.dialog.showModal();
    this.search.focus();
    this.scrollToActive();
    return new Promise((resolve) => { this.resolve = resolve; });
  }

  update() {
    const query = this.search.value.trim();
    this.shown = this.models.filter((model) => (!query || matches(model, query)) && [...this.filters].every(({ test }) => test(model)));
    const usable = this.shown.findIndex((model) => model.id === this.current && model.available);
    this.active = usable >= 0 && !query ? usable : this.shown.findIndex((model) => model.available);
    this.list.replaceChildren(...this.shown.map((model, index) => this.option(model, index)));
    this.status.textContent = this.shown.length
      ? tn("{count} model", "{count} models", this.shown.length)
      : t("No model matches. Try another word, or remove a filter.");
    this.mark();
  }

  option(model, index) {
    const tags = model.tags.filter((tag) => !HIDDEN_TAGS.has(tag));
    return create(
      "li",
      {
        class: "picker-option", id: `picker-option-${index}`, role: "option", "aria-selected": String(model.id === this.current),
        "aria-disabled": model.available ? undefined : "true", data: { model: model.id },
        on: { click: () => this.pick(index), pointermove: () => this.moveTo(index) },
      },
      create("span", { class: "picker-name" }, create("b", { textContent: model.id }), model.free ? create("span", { class: "tag free", textContent: t("no account needed") }) : null),
      create("span", { class: "picker-facts small soft", textContent: [model.provider, contextText(model), ...tags].filter(Boolean).join(" · ") }),
      create("span", { class: "picker-price small soft", textContent: model.available ? priceText(model, this.creditsPerUsd) : t("Not included. Sign in or change your plan.") }),
    );
  }

  mark() {
    [...this.list.children].forEach((option, index) => option.classList.toggle("active", index === this.active));
    const option = this.list.children[this.active];
    if (option) this.search.setAttribute("aria-activedescendant", option.id);
    else this.search.removeAttribute("aria-activedescendant");
  }

  scrollToActive() {
    this.list.children[this.active]?.scrollIntoView({ block: "nearest" });
  }

  moveTo(index) {
    if (index === this.active || !this.shown[index]?.available) return;
    this.active = index;
    this.mark();
  }

  key(event) {
    const usable = this.shown.map((model, index) => (model.available ? index : -1)).filter((index) => index >= 0);
    const at = usable.indexOf(this.active);
    const last = usable.length - 1;
    const targets = { ArrowDown: at === last ? 0 : at + 1, ArrowUp: at <= 0 ? last : at - 1, PageDown: Math.min(at + 8, last), PageUp: Math.max(at - 8, 0) };
    if (event.key in targets && usable.length) {
      event.preventDefault();
      this.moveTo(usable[targets[event.key]]);
      this.scrollToActive();
    } else if (event.key === "Enter") {
      event.preventDefault();
      this.pick(this.active);
    }
  }

  pick(index) {
    const model = this.shown[index];
    if (!model?.available) return;
    this.chosen = model.id;
    this.dialog.close();
  }

  outside(event) {
    if (event.target === this.dialog) this.dialog.close();
  }

  closed() {
    this.resolve?.(this.chosen);
    this.resolve = null;
  }
}
