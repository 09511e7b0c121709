"""Recognizes events that differ from an earlier one only in their text, so that only the text needs to be decoded.

Most events of a stream are like this. A JSON string can be replaced by any other without affecting the rest of the event, so it
is enough to compare the bytes around it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

_CONTENT = re.compile(rb'"content": ?("[^"\\]*+(?:\\.[^"\\]*+)*+")')
_decode_string = msgspec.json.Decoder(str).decode


class TextEventTemplate(msgspec.Struct, frozen=True, gc=False):
    """The bytes around the text of an event, as they arrive (`head`, `end`) and as they are relayed.

    `relayed_end` includes the blank line, and `between` is what is relayed between two texts.
    """

    head: bytes
    end: bytes
    relayed_head: bytes
    relayed_end: bytes
    between: bytes

    def read(self, events: Sequence[bytes]) -> tuple[str, bytes] | None:
        """Return the text of the events, and the events to relay; None if the text of one is not a string.

        Each event must begin with `head` and end with `end`.
        """
        start, stop = len(self.head), -len(self.end)
        strings = [event[start:stop] for event in events]
        try:
            text = "".join([_decode_string(string) for string in strings])
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        return text, self.relayed_head + self.between.join(strings) + self.relayed_end


def split_at_text(payload: bytes) -> tuple[bytes, bytes, bytes] | None:
    """Return the payload before, in and after its first field `content`, or None if that is not a string."""
    found = _CONTENT.search(payload)
    return None if found is None else (payload[: found.start(1)], found[1], payload[found.end(1) :])
