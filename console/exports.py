"""CSV exports of a filtered page, streamed in constant memory.

Rows are read in keyset batches, each a short query of its own. An export therefore holds no long transaction, and concurrent
inserts neither hide nor repeat a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from flask import Response, stream_with_context

from console.actions.origin import origin
from console.paging import iterate_batches
from shared.operations.export_audit import record_export
from shared.text.csv_rows import csv_header, csv_rows

CHUNK_ROWS = 500  # rows per chunk of the response


def export(
    what: str,
    filters: dict[str, str],
    query: Any,
    keys: Sequence[Any],
    header: Sequence[str],
    line: Callable[[tuple[Any, ...]], Sequence[Any]],
) -> Response:
    """Stream `query` as `<what>.csv` and record the export in the audit log.

    `query` selects tuples that begin with `keys`, its unique descending order; `line` converts a tuple to CSV cells.
    """
    record_export(what, filters, origin=origin())
    rows = (line(row) for batch in iterate_batches(query, keys) for row in batch)
    response = Response(stream_with_context(_chunks(header, rows)), mimetype="text/csv")
    response.headers["Content-Disposition"] = f'attachment; filename="{what}.csv"'
    return response


def _chunks(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[bytes]:
    yield csv_header(header)
    remaining = iter(rows)
    while chunk := list(islice(remaining, CHUNK_ROWS)):
        yield csv_rows([_cell(value) for value in row] for row in chunk)


def _cell(value: Any) -> Any:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
