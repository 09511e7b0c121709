// Passkeys. A form with data-passkey ("get" or "create") has the options in data-options, and a field for the browser's answer.
// It is hidden in browsers without passkeys, and without scripts.
import { t } from "./i18n.js";

if (window.PublicKeyCredential?.parseRequestOptionsFromJSON) {
  document.querySelectorAll("form[data-passkey]").forEach((form) => {
    form.hidden = false;
    form.querySelector("[data-use]").addEventListener("click", () => use(form));
  });
}

async function use(form) {
  if (!form.reportValidity()) return;
  const options = JSON.parse(form.dataset.options);
  const failed = form.querySelector("[data-failed]");
  failed.hidden = true;
  try {
    const credential = form.dataset.passkey === "create"
      ? await navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options) })
      : await navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options) });
    form.querySelector('[name$=credential]').value = JSON.stringify(credential.toJSON());
  } catch (error) {
    failed.textContent = error.name === "InvalidStateError"
      ? t("This device already has a passkey for your account.")
      : t("The passkey was not used: it was cancelled, or took too long.");
    failed.hidden = false;
    return;
  }
  form.requestSubmit();
}
