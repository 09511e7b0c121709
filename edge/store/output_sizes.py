"""Output sizes of recent calls by model. Holds in a tight pool are computed from them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from operator import add

from shared.billing.elastic_hold import HIGH_FRACTION, HIGH_PERCENT, MIN_CALLS, TYPICAL_FRACTION
from shared.billing.output_histogram import BOUNDS, bucket_of, percentile
from shared.catalog.snapshot import CatalogModel

MAX_CALLS = 2_000  # counts are halved at this number, so that recent calls weigh more
LEARNED_SECONDS = 3_600.0  # how long an answer that cost more than its hold raises the expected output of its model


class _ModelSizes:
    __slots__ = ("counts", "learned", "learned_until", "reasons", "total")

    def __init__(self) -> None:
        self.counts = [0] * len(BOUNDS)
        self.total = 0
        self.reasons = False  # some calls had reasoning tokens, which may be hidden while they run
        self.learned = 0
        self.learned_until = 0.0


class OutputSizes:
    """Combines the histograms in the catalog with the newer calls of this process."""

    def __init__(self) -> None:
        self._models: dict[str, _ModelSizes] = {}

    def record(self, model: str, output_tokens: int, reasoning_tokens: int) -> None:
        """Count a completed call."""
        found = self._models.get(model)
        if found is None:
            found = self._models[model] = _ModelSizes()
        found.counts[bucket_of(output_tokens)] += 1
        found.total += 1
        if reasoning_tokens:
            found.reasons = True
        if found.total >= MAX_CALLS:
            found.counts = [count // 2 for count in found.counts]
            found.total = sum(found.counts)

    def learn(self, model: str, output_tokens: int) -> None:
        """Raise the expected output of a model whose answer cost more than its hold."""
        found = self._models.setdefault(model, _ModelSizes())
        now = time.monotonic()
        found.learned = max(output_tokens, found.learned if now < found.learned_until else 0)
        found.learned_until = now + LEARNED_SECONDS

    def reasons(self, model: CatalogModel) -> bool:
        """Return whether recent calls of the model had reasoning tokens."""
        found = self._models.get(model.id)
        return model.reasons or (found is not None and found.reasons)

    def typical(self, model: CatalogModel) -> int | None:
        """Return the output tokens that most recent calls of the model did not exceed; None if too few are known."""
        return self._percentile(model, TYPICAL_FRACTION)

    def high(self, model: CatalogModel) -> int | None:
        """Return the output tokens that nearly all recent calls did not exceed, with a margin; None if too few are known."""
        most = self._percentile(model, HIGH_FRACTION)
        if most is None:
            return None
        found, most = self._models.get(model.id), most * HIGH_PERCENT // 100
        return max(most, found.learned) if found is not None and time.monotonic() < found.learned_until else most

    def _percentile(self, model: CatalogModel, fraction: float) -> int | None:
        own = self._models.get(model.id)
        counts: Sequence[int] = model.output_sizes
        if own is not None:
            counts = list(map(add, counts, own.counts)) if counts else own.counts
        return percentile(counts, fraction) if sum(counts) >= MIN_CALLS else None
