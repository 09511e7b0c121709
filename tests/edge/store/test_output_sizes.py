"""Output sizes of recent calls: the catalog's counts and the process's own."""

from __future__ import annotations

from edge.store.output_sizes import MAX_CALLS, OutputSizes
from shared.billing.output_histogram import BOUNDS, bucket_of
from shared.catalog.snapshot import CatalogModel


def model(*sizes: int) -> CatalogModel:
    counts = [0] * len(BOUNDS)
    for size in sizes:
        counts[bucket_of(size)] += 1
    return CatalogModel("m", "chat", "yout", "", None, None, "text->text", (), False, 0, (), (), output_sizes=tuple(counts))


def test_few_calls_say_nothing() -> None:
    sizes = OutputSizes()
    for _ in range(9):
        sizes.record("m", 100, 0)
    assert (sizes.typical(model()), sizes.high(model())) == (None, None)
    assert sizes.typical(model(100)) is not None  # the tenth is in the catalog
    assert sizes.typical(model()._replace(id="other")) is None


def test_a_stream_holds_less_than_a_complete_answer() -> None:
    known = model(*[100] * 95, *[1_000] * 5)
    typical, high = OutputSizes().typical(known), OutputSizes().high(known)
    assert typical is not None
    assert high is not None
    assert 90 <= typical <= 128
    assert 1_000 * 1.25 * 0.7 <= high <= 1_024 * 1.25


def test_an_answer_that_cost_more_than_its_hold_is_learned_at_once() -> None:
    sizes = OutputSizes()
    for _ in range(10):
        sizes.record("m", 100, 0)
    sizes.learn("m", 20_000)
    sizes.learn("m", 10_000)
    assert sizes.high(model()) == 20_000
    assert sizes.typical(model()) != 20_000


def test_old_calls_count_less() -> None:
    sizes = OutputSizes()
    for _ in range(MAX_CALLS):
        sizes.record("m", 10_000, 0)
    for _ in range(3 * MAX_CALLS):
        sizes.record("m", 10, 0)
    typical = sizes.typical(model())
    assert typical is not None
    assert typical < 16


def test_reasoning_is_noticed() -> None:
    sizes = OutputSizes()
    assert not sizes.reasons(model())
    assert sizes.reasons(model()._replace(reasons=True))
    sizes.record("m", 10, 5)
    assert sizes.reasons(model())
