// Keeps the newest text in view, unless the reader has scrolled up.

const NEAR_END = 48; // pixels

export class Scroller {
  // `log` scrolls; `latest` is the button that goes to the end, shown while the end is out of view.
  constructor(log, latest) {
    this.log = log;
    this.latest = latest;
    this.following = true;
    this.top = 0;
    log.addEventListener("scroll", () => this.read(), { passive: true });
    latest.addEventListener("click", () => {
      this.toEnd();
      log.focus({ preventScroll: true });
    });
    new ResizeObserver(() => this.changed()).observe(log);
  }

  get atEnd() {
    return this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < NEAR_END;
  }

  // Only scrolling up stops following: new text may already have been added when the event of a scroll to the end arrives.
  read() {
    const { scrollTop } = this.log;
    if (this.atEnd) this.following = true;
    else if (scrollTop < this.top) this.following = false;
    this.top = scrollTop;
    this.latest.hidden = this.following;
  }

  // Call after content has changed.
  changed() {
    if (this.following) this.log.scrollTop = this.log.scrollHeight;
    this.top = this.log.scrollTop;
    this.latest.hidden = this.following || this.atEnd;
  }

  toEnd() {
    this.following = true;
    this.changed();
  }

  show(element) {
    element.scrollIntoView({ block: "nearest" });
    this.read();
  }
}
