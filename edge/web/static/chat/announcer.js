// Announces answers to screen readers sentence by sentence, not delta by delta.

const PAUSE_MS = 2_500;

export class Announcer {
  constructor(element) {
    this.element = element;
    this.said = 0;
    this.timer = null;
  }

  say(text) {
    this.element.textContent = text;
  }

  begin(text) {
    this.said = 0;
    this.say(text);
  }

  // `text` is the whole answer so far. Its complete sentences are announced at most every few seconds.
  follow(text) {
    this.text = text;
    this.timer ??= setTimeout(() => {
      this.timer = null;
      const fresh = this.text.slice(this.said);
      const end = Math.max(...[". ", "! ", "? ", "\n"].map((mark) => fresh.lastIndexOf(mark)));
      if (end < 0) return;
      this.said += end + 1;
      this.say(plain(fresh.slice(0, end + 1)));
    }, PAUSE_MS);
  }

  // Announce what is left of the answer, and `text` after it.
  end(answer, text) {
    clearTimeout(this.timer);
    this.timer = null;
    this.say(`${plain(answer.slice(this.said))} ${text}`.trim());
  }
}

function plain(markdown) {
  return markdown.replace(/[*_`#>|]+/g, "").replace(/\s+/g, " ").trim();
}
