// The quote beside the send button: what sending may cost, if that can be more than the threshold in the settings.
import { t } from "../i18n.js";
import { ApiError, quote, signedIn } from "./api.js";
import { readSettings } from "./browser_settings.js";
import { creditsText } from "./message_view.js";

// Return the text to show for `calls`, the request bodies that sending would make with their models, or "". Raises `AbortError`
// after `signal` aborts.
export async function quoteText(calls, signal) {
  const { quote_threshold: threshold } = readSettings();
  const rough = calls.reduce((sum, { body, model }) => sum + roughBound(body, model), 0);
  if (rough <= threshold) return "";
  try {
    const quotes = await Promise.all(calls.map(({ body }) => quote(quoteBody(body), signal)));
    const sum = (name) => quotes.reduce((total, found) => total + found[name], 0);
    const [worst, typical] = [sum("worst"), sum("typical")];
    if (quotes.some(({ fits }) => !fits)) return tooExpensive();
    return worst > threshold ? t("About {typical}, at most {worst}", { typical: creditsText(typical), worst: creditsText(worst) }) : "";
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    return error.code === "insufficient_credits" ? tooExpensive() : "";
  }
}

function tooExpensive() {
  return signedIn ? t("Costs more than your balance") : t("Costs more than today's allowance");
}

// Return a body of the same size for a quote, with every text replaced, so that an unsent draft does not leave the browser.
function quoteBody(body) {
  const hide = (text) => "text ".repeat(Math.ceil(byteLength(text) / 5)).slice(0, byteLength(text)) || "-";
  const hidePart = (part) => {
    if (part.type === "text") return { ...part, text: hide(part.text) };
    if (part.type === "image_url") return { ...part, image_url: { url: "data:image/png;base64,AA==" } };
    return { ...part, file: { filename: "file", file_data: "A".repeat(part.file.file_data.length) } };
  };
  const messages = body.messages.map(({ role, content }) => ({
    role,
    content: typeof content === "string" ? hide(content) : content.map(hidePart),
  }));
  return { ...body, messages };
}

function byteLength(text) {
  return new TextEncoder().encode(text).length;
}

// Return an upper bound of the credits of a body, to decide whether a quote is worth requesting. Errs on the high side.
function roughBound(body, model) {
  const { credits_per_1k_input: input, credits_per_1k_output: output, credits_per_call: call } = model.pricing;
  const size = byteLength(JSON.stringify(body)) + 64;
  const inputTokens = model.context_window ? Math.min(size, model.context_window) : size;
  const outputTokens = Math.min(body.max_tokens ?? Infinity, model.max_output_tokens ?? model.context_window ?? 100_000);
  return call + Math.ceil((inputTokens * input + outputTokens * output) / 1000);
}
