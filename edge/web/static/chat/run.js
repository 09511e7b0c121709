// One answer being generated: streams it into its message, and saves the message as it grows.
import { ApiError, receipt, storedError, stream } from "./api.js";

const SAVE_EVERY_MS = 1_000;
const RECEIPT_WAIT_SECONDS = 10;

export class Run {
  // `changed(run, kind)` is called after each change of the message: "text", "state" or "settled".
  constructor({ message, store, changed }) {
    this.message = message;
    this.store = store;
    this.changed = changed;
    this.controller = new AbortController();
    this.running = true;
    this.balance = null;
    this.savedAt = 0;
  }

  stop() {
    this.controller.abort();
  }

  // Generate the answer. `makeBody` returns the request's body. Never rejects: a failure becomes the message's error.
  async start(makeBody) {
    const { message } = this;
    try {
      const body = await makeBody();
      const events = stream(body, { signal: this.controller.signal, started: (id) => { message.request_id = id; } });
      for await (const event of events) await this.apply(event);
    } catch (error) {
      this.fail(error);
    }
    this.running = false;
    await this.save();
    this.changed(this, "state");
    if (message.credits === undefined && message.error?.code !== "network") await this.settle();
  }

  async apply(event) {
    const { message } = this;
    if (event.delta !== undefined) message.text += event.delta;
    else if (event.reasoning !== undefined) message.reasoning = (message.reasoning ?? "") + event.reasoning;
    else if (event.image !== undefined) message.attachments = [...(message.attachments ?? []), await imageOf(event.image, message)];
    else if (event.done) {
      message.status = "complete";
      message.finish_reason = event.finish_reason;
      message.credits = event.credits_charged;
      message.tokens = { input: event.usage?.prompt_tokens, output: event.usage?.completion_tokens };
      this.balance = event.balance;
      return;
    }
    this.changed(this, "text");
    if (performance.now() - this.savedAt > SAVE_EVERY_MS) await this.save();
  }

  fail(error) {
    const { message } = this;
    if (error.name === "AbortError") {
      message.status = "stopped";
      return;
    }
    message.status = "failed";
    message.error = storedError(error);
    message.request_id ??= error.request_id;
    if (!(error instanceof ApiError)) console.error(error);
    else if (error.status) message.credits = 0; // refused before the call began
  }

  // Read the charge of an answer that did not complete.
  async settle() {
    const { message } = this;
    const found = message.request_id ? await receipt(message.request_id, RECEIPT_WAIT_SECONDS) : null;
    if (found) message.credits = found.credits_charged;
    await this.save();
    this.changed(this, "settled");
  }

  async save() {
    this.savedAt = performance.now();
    await this.store.saveMessage({ ...this.message });
  }
}

async function imageOf(url, message) {
  const [head, data] = url.split(",", 2);
  const type = /^data:(image\/[\w.+-]+)/.exec(head)?.[1] ?? "image/png";
  const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
  const number = (message.attachments?.length ?? 0) + 1;
  return { name: `image-${number}.${type.split("/")[1]}`, type, bytes: new Blob([bytes], { type }) };
}
