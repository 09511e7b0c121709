// Files of the message that is being written: added by button, drag or paste, checked before they are sent, and shown as chips.
import { t } from "../i18n.js";
import { IMAGE_TYPES, PDF, accepts, binaryBudget, kindOf, refusal } from "./attachment_rules.js";
import { button, create } from "./dom.js";
import { dataUrl } from "./request_body.js";

const UNITS = [[1_000_000, "MB"], [1000, "KB"]];
const TEXT_SUFFIXES = [ // browsers do not know the type of many of them
  ".md", ".csv", ".json", ".xml", ".yaml", ".yml", ".log",
  ".py", ".js", ".ts", ".rs", ".go", ".java", ".c", ".cpp", ".h", ".sh", ".sql",
];

/** A size in bytes as people read it. */
export function sizeText(bytes) {
  const [unit, name] = UNITS.find(([size]) => bytes >= size) ?? [1, "B"];
  return `${new Intl.NumberFormat(document.documentElement.lang || "en", { maximumFractionDigits: bytes < 10 * unit ? 1 : 0 }).format(bytes / unit)} ${name}`;
}

/**
 * Put the chips into `element` and the button into `tools`. `options`: `prompt` (the text field, for pasting), `area` (where files can be
 * dropped), `models()` (those that will get the message), `earlier()` (the files of earlier messages, which are sent again), `changed()`,
 * `bodyBytes` (the server's limit of a request).
 */
export function mountAttachments(element, options) {
  return new Attachments(element, options);
}

class Attachments {
  constructor(element, options) {
    this.element = element;
    this.options = options;
    this.files = [];
    this.chips = create("ul", { class: "attachment-list", "aria-label": t("Attached files") });
    this.problem = create("p", { class: "attachment-problem", role: "alert", hidden: true });
    this.element.replaceChildren(this.chips, this.problem);
    const accept = [...IMAGE_TYPES, PDF, "text/*", ...TEXT_SUFFIXES].join();
    this.input = create("input", { type: "file", multiple: true, hidden: true, tabIndex: -1, "aria-hidden": "true", accept });
    this.input.addEventListener("change", async () => {
      await this.add([...this.input.files]);
      this.input.value = "";
      this.options.prompt.focus();
    });
    options.tools.append(button(t("Attach"), () => this.input.click(), { class: "quiet", title: t("Attach images, PDF or text files. You can also paste them or drop them here.") }), this.input);
    options.prompt.addEventListener("paste", (event) => this.pasted(event));
    this.listenForDrops(options.area);
    this.show();
  }

  /** The files, as a message stores them. */
  items() {
    return this.files.map(({ name, type, bytes }) => ({ name, type, bytes }));
  }

  clear() {
    this.files = [];
    this.showProblem([]);
    this.show();
  }

  /** Replace the files, such as by those of a draft. */
  set(items) {
    this.files = items.map(({ name, type, bytes }) => ({ name, type, bytes, size: bytes.size, kind: IMAGE_TYPES.includes(type) ? "image" : type === PDF ? "pdf" : "text" }));
    this.showProblem([]);
    this.show();
  }

  /** Check the files again after another model was chosen. */
  check() {
    this.show();
  }

  async add(files) {
    const problems = [];
    const earlier = this.options.earlier().filter(({ type }) => IMAGE_TYPES.includes(type) || type === PDF);
    const budget = Math.max(0, binaryBudget(this.options.bodyBytes) - earlier.reduce((sum, { bytes }) => sum + bytes.size, 0));
    for (const file of files) {
      const kind = await kindOf(file);
      const [model] = this.refusing(kind);
      const refused = refusal(file, kind, this.files, { budget, model });
      if (refused) problems.push(problemText(file, refused, model));
      else this.files.push({ name: file.name || t("Pasted image"), type: kind === "text" ? textType(file) : file.type, bytes: file, size: file.size, kind });
    }
    this.showProblem(problems);
    this.show();
    this.options.changed();
  }

  /** The chosen models that do not take files of a kind. */
  refusing(kind) {
    return this.options.models().filter((model) => !accepts(model, kind));
  }

  remove(file) {
    const index = this.files.indexOf(file);
    this.files.splice(index, 1);
    this.showProblem([]);
    this.show();
    const next = this.chips.children[Math.min(index, this.files.length - 1)];
    (next?.querySelector("button") ?? this.options.prompt).focus();
    this.options.changed();
  }

  show() {
    this.chips.hidden = this.files.length === 0;
    this.chips.replaceChildren(...this.files.map((file) => this.chip(file)));
  }

  chip(file) {
    const [model] = this.refusing(file.kind);
    const image = file.kind === "image" ? create("img", { class: "attachment-image", alt: "" }) : null;
    if (image) dataUrl(file.bytes, file.type).then((url) => { image.src = url; });
    return create(
      "li",
      { class: model ? "attachment wrong" : "attachment" },
      image,
      create("span", { class: "attachment-name", textContent: file.name, title: file.name }),
      create("span", { class: "small soft", textContent: model ? t("{model} does not accept this file.", { model: model.id }) : sizeText(file.size) }),
      button("×", () => this.remove(file), { class: "quiet", "aria-label": t("Remove {name}", { name: file.name }) }),
    );
  }

  showProblem(texts) {
    this.problem.hidden = texts.length === 0;
    this.problem.textContent = texts.join(" ");
  }

  pasted(event) {
    const files = [...(event.clipboardData?.files ?? [])];
    if (!files.length || event.clipboardData.types.includes("text/plain")) return; // office programs copy text together with an image of it
    event.preventDefault();
    this.add(files);
  }

  listenForDrops(area) {
    const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
    const mark = (on) => area.classList.toggle("dropping", on);
    area.addEventListener("dragover", (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      event.dataTransfer.dropEffect = "copy";
      mark(true);
    });
    area.addEventListener("dragleave", (event) => {
      if (!area.contains(event.relatedTarget)) mark(false);
    });
    area.addEventListener("drop", (event) => {
      mark(false);
      if (!hasFiles(event)) return;
      event.preventDefault();
      this.add([...event.dataTransfer.files]);
    });
  }
}

// Browsers do not know the type of many text files.
function textType(file) {
  return file.type.startsWith("text/") ? file.type : "text/plain";
}

function problemText(file, { code, limit }, model) {
  const name = file.name || t("Pasted image");
  const size = sizeText(file.size);
  const texts = {
    type: () => t("{name} cannot be attached. Choose an image (PNG, JPEG, WebP, GIF), a PDF or a text file.", { name }),
    empty: () => t("{name} is empty.", { name }),
    image: () => t("{model} does not accept images. Choose another model to attach {name}.", { model: model.id, name }),
    pdf: () => t("{model} does not accept PDF files. Choose another model to attach {name}.", { model: model.id, name }),
    count: () => t("A message can have at most {limit} files.", { limit }),
    text_size: () => t("{name} is {size}; text files can be at most {limit}.", { name, size, limit: sizeText(limit) }),
    size: () => t("{name} is {size}; a file can be at most {limit}.", { name, size, limit: sizeText(limit) }),
    total: () => t("{name} was not attached: the images and PDF files of a message can be at most {limit} in total.", { name, limit: sizeText(limit) }),
  };
  return texts[code]();
}
