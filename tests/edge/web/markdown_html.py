"""Compares HTML by structure: order of attributes, quoting and whitespace around blocks do not matter."""

from __future__ import annotations

from html.parser import HTMLParser

Event = tuple[str, ...]
_VOID = {"br", "hr"}
_WITHIN_TEXT = {"a", "code", "em", "strong", "s", "sup"}


class _Events(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.events: list[Event] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        kept = sorted(f"{name}={value}" for name, value in attrs if name != "rel")
        self.events.append(("start", tag, *kept))

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            self.events.append(("end", tag))

    def handle_data(self, data: str) -> None:
        if self.events and self.events[-1][0] == "text":
            data = self.events.pop()[1] + data
        self.events.append(("text", data))


def events(html: str) -> list[Event]:
    """Return the tags and texts of `html` without line breaks between blocks and without `rel`, which only the server adds."""
    parser = _Events()
    parser.feed(html)
    parser.close()
    found: list[Event] = []
    for index, event in enumerate(parser.events):
        if event[0] == "text":
            before = parser.events[index - 1] if index else ("", "")
            text = event[1].lstrip("\n") if before[1] not in _WITHIN_TEXT else event[1]
            if before[1] == "br" or index + 1 == len(parser.events):
                text = text.strip("\n")
            if not text.strip("\n"):
                continue
            event = ("text", text)
        found.append(event)
    return found
