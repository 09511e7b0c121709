"""Rounds over all targets in turn, so that disturbances affect all of them, and the verification of ledgers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from bench.gateway.targets import Books, Gateway, Target
from bench.gateway.workloads import WORKLOADS, Bench, resting_memory
from bench.load import MockUpstream
from tests.servers.process import StartFailed

Row = dict[str, Any]  # round, target, test, and the result of `Bench.run`; or `error`


def run_rounds(
    targets: Sequence[Target], tests: Sequence[str], rounds: int, bench: Bench, mock: MockUpstream, say: Callable[[str], None]
) -> Iterator[Row]:
    """Measure. Yields a row for each start, test and ledger as soon as it is known."""
    for number in range(1, rounds + 1):
        for target in targets:
            say(f"round {number}, {target.name}")
            for row in _visit(target, tests, bench, mock):
                yield {"round": number, "target": target.name, **row}


def _visit(target: Target, tests: Sequence[str], bench: Bench, mock: MockUpstream) -> Iterator[Row]:
    mock.configure()
    served, good = mock.answers(), 0
    try:
        with target.started() as gateway:
            good += 1 if gateway.process else 0  # the readiness call
            for row in _measure(gateway, tests, bench):
                good += int(row.get("good", 0))
                yield row
    except StartFailed as failure:
        yield {"test": "start", "error": str(failure)}
        return
    books = target.books()
    if books is not None:
        yield _proof(books, good, mock.answers() - served)


def _measure(gateway: Gateway, tests: Sequence[str], bench: Bench) -> Iterator[Row]:
    yield {"test": "start", "start_seconds": gateway.start_seconds, "idle_kb": resting_memory(gateway) or None}
    if gateway.process is not None:
        yield {"test": "warm_up", "good": bench.warm_up(gateway)}
    resting_kb = resting_memory(gateway)
    for name in tests:
        try:
            yield {"test": name, **bench.run(WORKLOADS[name], gateway, resting_kb)}
        except ValueError as failure:
            yield {"test": name, "error": str(failure)}


def _proof(books: Books, good: int, served: int) -> Row:
    """Check that the ledger is consistent, and matches the counts of the caller and the upstream.

    Each good answer must be charged; a call that the upstream did not start to answer must not be charged.
    """
    problems = list(books.problems)
    if books.charges < good:
        problems.append(f"{good} good answers, but only {books.charges} charges")
    if books.charges > served:
        problems.append(f"{books.charges} charges, but only {served} answers of the upstream")
    return {"test": "books", "problems": problems, "charges": books.charges, "answers": good, "served": served}
