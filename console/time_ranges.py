"""Time ranges of pages, aligned so that whole hours and days can be read from the rollups. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from shared.rollup import TimeSpan
from shared.text.translation import lazy_gettext

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS


@dataclass(frozen=True, slots=True)
class Range:
    """A time range: `name` in the URL, `label` in a sentence, `heading` above a page, its length, and the step of its charts."""

    name: str
    label: str
    heading: str
    length_ms: int
    step_ms: int

    def span(self, now: int) -> TimeSpan:
        """Return the range that ends at `now`, inclusive. Its start is rounded down to a whole step."""
        since = now - self.length_ms
        return TimeSpan(since - since % self.step_ms, now + 1, self.step_ms)


RANGES = (
    Range("1h", lazy_gettext("the last hour"), lazy_gettext("The last hour"), HOUR_MS, 5 * MINUTE_MS),
    Range("24h", lazy_gettext("the last 24 hours"), lazy_gettext("The last 24 hours"), DAY_MS, HOUR_MS),
    Range("7d", lazy_gettext("the last 7 days"), lazy_gettext("The last 7 days"), 7 * DAY_MS, 6 * HOUR_MS),
    Range("30d", lazy_gettext("the last 30 days"), lazy_gettext("The last 30 days"), 30 * DAY_MS, DAY_MS),
)
DEFAULT_RANGE = RANGES[1]


def find_range(name: str) -> Range:
    """Return the range of this name, or the default."""
    return next((known for known in RANGES if known.name == name), DEFAULT_RANGE)
