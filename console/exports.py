"""CSV of exactly what a page's filters choose: streamed, in constant memory, however many rows there are.

Rows are read in batches by keyset, each a short query of its own, so that an export neither holds a transaction open for minutes
nor loses or repeats a row while others are inserted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from flask import Response, stream_with_context

from console.actions.origin import by
from console.paging import batches
from shared.operations.exports import record_export
from shared.text.csv_rows import csv_head, csv_rows

BLOCK = 500  # rows that are sent at once


def export(
    what: str,
    filters: dict[str, str],
    query: Any,
    keys: Sequence[Any],
    header: Sequence[str],
    line: Callable[[tuple[Any, ...]], Sequence[Any]],
) -> Response:
    """Send `query` as `<what>.csv` and record who took it.

    `query` selects tuples that begin with `keys`, its unique order (descending); `line` makes the cells of a row of one.
    """
    record_export(what, filters, **by())
    rows = (line(row) for batch in batches(query, keys) for row in batch)
    response = Response(stream_with_context(_blocks(header, rows)), mimetype="text/csv")
    response.headers["Content-Disposition"] = f'attachment; filename="{what}.csv"'
    return response


def _blocks(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[bytes]:
    yield csv_head(header)
    remaining = iter(rows)
    while block := list(islice(remaining, BLOCK)):
        yield csv_rows([_written(value) for value in row] for row in block)


def _written(value: Any) -> Any:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
