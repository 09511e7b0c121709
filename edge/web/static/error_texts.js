// Texts of API errors in the page's language, by code. The API's own messages are in English, and more specific: on English pages
// they are shown as they are, and this module is not loaded.
import { formatNumber } from "./chat/dom.js";
import { t } from "./i18n.js";

const TEXTS = {
  account_suspended: () => t("The account is suspended. Contact the operator of this service."),
  content_filter: () => t("The provider blocked the prompt."),
  context_length_exceeded: () => t("The conversation is too long for this model. Shorten it, or choose a model with a larger context window."),
  conversation_changed: () => t("This conversation was changed elsewhere in the meantime."),
  credits_held: () => t("Running calls hold the credits that this call needs. Try again shortly."),
  csrf_failed: () => t("Your session has changed. Reload the page."),
  daily_allowance_exhausted: () => t("Today's free credits cannot cover this call. Sign up to continue now."),
  insufficient_credits: ({ required, balance, max_credits }) => {
    if (max_credits !== undefined) return t("This call needs at least {required} credits, more than your limit of {limit} credits.", { required: formatNumber(required), limit: formatNumber(max_credits) });
    if (balance !== undefined) return t("This call needs at least {required} credits. Your balance is {balance} credits.", { required: formatNumber(required), balance: formatNumber(balance) });
    return t("Your balance cannot cover this call.");
  },
  internal_error: () => t("The server failed. Nothing was charged."),
  model_not_allowed: () => t("Your plan does not include this model."),
  model_not_found: () => t("This model does not exist, or you do not have access to it."),
  model_shut_down: () => t("This model was shut down."),
  no_upstream_available: () => t("This model is temporarily unavailable. Nothing was charged; try again shortly."),
  not_found: () => t("This no longer exists."),
  plan_required: () => t("Your plan does not include this."),
  purge_in_progress: () => t("Nothing can be stored or shared until the purge is done."),
  rate_limit_exceeded: () => t("Too many requests. Try again shortly."),
  request_too_large: () => t("The message or its attachments are too large."),
  service_unavailable: () => t("The service is temporarily unavailable. Try again shortly."),
  settlement_pending: () => t("The answer is complete, but its charge is not recorded yet. Do not repeat the request."),
  sign_in_required: () => t("The session has ended. Sign in again."),
  upstream_error: () => t("The model failed to respond."),
  upstream_timeout: () => t("The model did not respond in time."),
};

// Return the text for an error document of the API: `error` has code and message, `details` what is under "yout". Other errors
// are about a field of the request, or come from a provider; then the text has the API's message.
export function errorText({ code, message }, details = {}) {
  if (Object.hasOwn(TEXTS, code)) return TEXTS[code](details);
  return t("The request was refused. Message from the server: {message}", { message });
}
