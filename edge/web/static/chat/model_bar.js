// The model buttons above the conversation: one model, or two whose answers are shown side by side.
import { t } from "../i18n.js";
import { button, create } from "./dom.js";

const TEST_TAG = "test"; // models that only test clients; hidden if there is any other

// Return the chat models to offer, free ones first.
export function offeredModels(models) {
  const chat = models.filter((model) => model.kind === "chat");
  const real = chat.filter((model) => !model.tags.includes(TEST_TAG));
  const shown = real.some((model) => model.available) ? real : chat;
  return [...shown].sort((a, b) => Number(b.free) - Number(a.free) || (a.id < b.id ? -1 : 1));
}

export class ModelBar {
  // `models` are those to offer. `choose(current, title)` returns the promise of the chosen model's id, or of null.
  // `changed({model, second_model})` is called after the user chooses.
  constructor(place, models, { choose, changed }) {
    this.models = models;
    this.chooseModel = choose;
    this.changed = changed;
    this.first = this.modelButton("model", "model-button");
    this.second = this.modelButton("second_model", "model-button");
    this.add = button(t("Compare"), () => this.choose("second_model", t("Choose a model to compare with")), { class: "quiet compare", title: t("Answer every message with two models, side by side") });
    this.remove = button("×", () => this.pick("second_model", null), { class: "quiet", "aria-label": t("Stop comparing") });
    this.versus = create("span", { class: "soft small", textContent: t("and") });
    place.replaceChildren(this.first, this.versus, this.second, this.remove, this.add);
  }

  modelButton(name, className) {
    return button("", () => this.choose(name, t("Choose a model")), { class: className, id: name.replace("_", "-"), "aria-haspopup": "dialog" });
  }

  async choose(name, title) {
    const chosen = await this.chooseModel(this.conversation[name], title);
    if (chosen) await this.pick(name, chosen);
  }

  async pick(name, id) {
    await this.changed({ [name]: id });
    if (name === "second_model") (id ? this.second : this.add).focus();
  }

  show(conversation) {
    this.conversation = conversation;
    const { model, second_model } = conversation;
    this.label(this.first, model);
    this.label(this.second, second_model);
    const two = Boolean(second_model);
    for (const element of [this.versus, this.second, this.remove]) element.hidden = !two;
    this.add.hidden = two || this.models.filter(({ available }) => available).length < 2;
  }

  label(element, id) {
    element.textContent = id ?? t("Choose a model");
    element.setAttribute("aria-label", id ? t("Model: {model}", { model: id }) : t("Choose a model"));
  }
}
