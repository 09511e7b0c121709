// The settings of this browser: the last model, and the cost in credits from which a quote is shown.

const SETTINGS_KEY = "yout-chat-settings";
const DEFAULTS = { model: null, quote_threshold: 1000 };

export function readSettings() {
  try {
    return { ...DEFAULTS, ...JSON.parse(localStorage.getItem(SETTINGS_KEY) ?? "{}") };
  } catch { // storage is blocked, or its value is invalid
    return { ...DEFAULTS };
  }
}

export function saveSettings(changes) {
  try {
    localStorage.setItem(SETTINGS_KEY, JSON.stringify({ ...readSettings(), ...changes }));
  } catch { /* storage is blocked: the settings last until the page is closed */ }
}
