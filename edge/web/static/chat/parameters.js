// The dialog with a conversation's system prompt and parameters, and the settings of this browser.
import { t } from "../i18n.js";
import { readSettings, saveSettings } from "./browser_settings.js";
import { button, create } from "./dom.js";

// The parameters of a conversation, by their names in the API. A parameter that the model does not support is not sent.
const NUMBERS = [
  { name: "temperature", min: 0, max: 2, step: 0.1, label: () => t("Temperature"), help: () => t("0 to 2. Higher values are more random.") },
  { name: "top_p", min: 0, max: 1, step: 0.05, label: () => t("Top P"), help: () => t("0 to 1. Lower values limit the choice to likely words.") },
  { name: "max_tokens", min: 1, max: 10_000_000, step: 1, label: () => t("Maximum tokens"), help: () => t("Limits the length and the cost of an answer.") },
  { name: "seed", min: 0, max: 2 ** 31, step: 1, label: () => t("Seed"), help: () => t("The same seed gives similar answers, if the model supports it.") },
];
const EFFORTS = () => [["", t("Default")], ["minimal", t("Minimal")], ["low", t("Low")], ["medium", t("Medium")], ["high", t("High")]];

function field(label, control, help) {
  const id = control.id;
  control.setAttribute("aria-describedby", `${id}-help`);
  return create("div", { class: "field" }, create("label", { htmlFor: id, textContent: label }), control, create("span", { class: "help", id: `${id}-help`, textContent: help }));
}

export class SettingsDialog {
  constructor() {
    this.system = create("textarea", { id: "setting-system", rows: 5, maxLength: 100_000, dir: "auto" });
    this.numbers = NUMBERS.map(({ name, min, max, step }) => create("input", { id: `setting-${name}`, type: "number", name, min, max, step, inputMode: "decimal", placeholder: t("Default") }));
    this.effort = create("select", { id: "setting-effort" }, ...EFFORTS().map(([value, label]) => create("option", { value, textContent: label })));
    this.threshold = create("input", { id: "setting-threshold", type: "number", min: 0, step: 1, inputMode: "numeric" });
    this.numberFields = NUMBERS.map((number, index) => field(number.label(), this.numbers[index], number.help()));
    this.effortField = field(t("Reasoning effort"), this.effort, t("More effort costs more tokens."));
    this.unsupported = create("p", { class: "small soft" });
    this.form = create(
      "form",
      { method: "dialog", class: "settings-form", on: { submit: () => this.save() } },
      create("h2", { id: "settings-title", textContent: t("Conversation settings") }),
      field(t("System prompt"), this.system, t("Instructions that the model gets before every message of this conversation.")),
      create("div", { class: "pair" }, ...this.numberFields, this.effortField),
      this.unsupported,
      create("h3", { textContent: t("In this browser") }),
      field(t("Show the cost before sending if above (credits)"), this.threshold, t("If a message can cost more than this, the cost is shown next to the send button.")),
      create("div", { class: "buttons" }, create("button", { class: "primary", textContent: t("Save settings") }), button(t("Cancel"), () => this.dialog.close())),
    );
    this.dialog = create("dialog", { class: "settings", "aria-labelledby": "settings-title", on: { close: () => this.resolve?.(this.saved) } }, this.form);
    document.body.append(this.dialog);
  }

  // Open the dialog. Resolves to the conversation's new `{system, parameters}`, or null if nothing was saved.
  edit(conversation, model) {
    this.saved = null;
    this.system.value = conversation.system ?? "";
    const parameters = conversation.parameters ?? {};
    const supported = (name) => !model?.supported_parameters?.length || model.supported_parameters.includes(name);
    this.numbers.forEach((input, index) => {
      input.value = parameters[input.name] ?? "";
      this.numberFields[index].hidden = !supported(input.name);
    });
    this.effort.value = parameters.reasoning_effort ?? "";
    this.effortField.hidden = !supported("reasoning_effort");
    const all = [...NUMBERS.map(({ name }) => name), "reasoning_effort"].every(supported);
    this.unsupported.textContent = all ? "" : t("Parameters that {model} does not support are not shown.", { model: model.id });
    this.unsupported.hidden = all;
    this.threshold.value = readSettings().quote_threshold;
    this.dialog.showModal();
    this.system.focus();
    return new Promise((resolve) => { this.resolve = resolve; });
  }

  save() {
    const parameters = {};
    for (const input of this.numbers) if (input.value !== "") parameters[input.name] = Number(input.value);
    if (this.effort.value) parameters.reasoning_effort = this.effort.value;
    this.saved = { system: this.system.value.trim(), parameters };
    saveSettings({ quote_threshold: Math.max(0, Number(this.threshold.value) || 0) });
  }
}
