// Shows the times of a page in the reader's language and time zone: relative, with the exact time on hover.
// Elements are written by `time_element` in shared/core/formats.py; without this file they show UTC.
const language = document.documentElement.lang || "en";
const exact = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "long" });
const date = new Intl.DateTimeFormat(language, { dateStyle: "medium" });
const relative = new Intl.RelativeTimeFormat(language, { numeric: "auto", style: "short" });
// [limit, seconds per unit, unit]: times less than `limit` seconds from now are shown in this unit.
const STEPS = [[60, 1, "second"], [3600, 60, "minute"], [86_400, 3600, "hour"], [30 * 86_400, 86_400, "day"]];
const INTERVAL_MS = 20_000;

export function exactTime(ms) {
  return exact.format(ms);
}

export function relativeTime(ms, now = Date.now()) {
  const seconds = (ms - now) / 1000;
  const step = STEPS.find(([below]) => Math.abs(seconds) < below);
  return step ? relative.format(Math.trunc(seconds / step[1]), step[2]) : date.format(ms);
}

function showTimes() {
  for (const element of document.querySelectorAll("time[datetime]")) {
    const ms = Date.parse(element.dateTime);
    if (Number.isNaN(ms)) continue;
    let text = relativeTime(ms);
    // The period of an abbreviation also ends its sentence: "vor 5 Sek."
    if (text.endsWith(".") && element.nextSibling?.nodeType === Node.TEXT_NODE && element.nextSibling.data.startsWith(".")) text = text.slice(0, -1);
    element.title = exactTime(ms);
    if (element.textContent !== text) element.textContent = text;
  }
}

showTimes();
setInterval(showTimes, INTERVAL_MS); // also finds elements that were added since
