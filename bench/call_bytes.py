"""Bytes that calls take in PostgreSQL, by table and index.

    python -m bench.call_bytes DATABASE_URL

Prints a table of `usage_ledger` and `ledger_entry`, all partitions together: bytes per row, and the share of each index. Then the
same sizes by partition, and what a million calls a day add in 30 days. Reads sizes and the planner's row counts only, so it is
quick; run `VACUUM ANALYZE` before. `bench.synthetic_usage` fills a database.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any, NamedTuple

from shared.ledger.partitions import TABLES
from tests.databases import opened

GIB = 2**30
CALLS_A_MONTH = 30_000_000
# Indexes of a partition are named after its own name, or belong to an index of the whole table.
SIZES = """
    WITH part AS (
        SELECT inhrelid AS oid, inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = %s::regclass
    )
    SELECT p.name, CASE WHEN c.relkind = 'i' THEN
            coalesce(i.inhparent::regclass::text, regexp_replace(c.relname, '^' || p.name, %s)) ELSE '' END,
        pg_relation_size(c.oid) + CASE WHEN c.relkind = 'r' THEN
            pg_relation_size(c.oid, 'fsm') + pg_relation_size(c.oid, 'vm') ELSE 0 END,
        CASE WHEN c.relkind = 'r' THEN greatest(c.reltuples, 0)::bigint ELSE 0 END
    FROM part p
    JOIN pg_class c ON c.oid = p.oid OR c.oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = p.oid)
    LEFT JOIN pg_inherits i ON i.inhrelid = c.oid AND c.relkind = 'i'
"""


class Size(NamedTuple):
    """Bytes of a partition's rows (`index` is empty) or of one of its indexes."""

    partition: str
    index: str
    size_bytes: int
    rows: int


def read_sizes(target: Any, table: str) -> list[Size]:
    return [Size(*row) for row in target.execute_sql(SIZES, (table, table)).fetchall()]


def report(sizes: dict[str, list[Size]]) -> str:
    """Return the tables as Markdown."""
    lines = ["| table or index | bytes per row | share |", "| --- | ---: | ---: |"]
    total = sum(map(_bytes_of, sizes.values()))
    for table, found in sizes.items():
        indexes = {size.index for size in found}
        by_index = {index: [size for size in found if size.index == index] for index in indexes}
        for index in sorted(indexes, key=lambda index: (index != "", -_bytes_of(by_index[index]))):
            taken = _bytes_of(by_index[index])
            lines.append(f"| `{index or table}` | {taken / _rows_of(found):.1f} | {100 * taken / total:.0f} % |")
    lines += ["", "| partition | rows | GiB | bytes per row |", "| --- | ---: | ---: | ---: |"]
    for found in sizes.values():
        for name in sorted({size.partition for size in found if size.rows}):
            part = [size for size in found if size.partition == name]
            taken = _bytes_of(part)
            lines.append(f"| `{name}` | {_rows_of(part)} | {taken / GIB:.2f} | {taken / _rows_of(part):.1f} |")
    per_call = {table: _bytes_of(found) / _rows_of(found) for table, found in sizes.items()}
    shown = " + ".join(f"{value:.0f} (`{table}`)" for table, value in per_call.items())
    in_all = sum(per_call.values())
    lines += ["", f"A charged call takes {shown} = {in_all:.0f} bytes."]
    lines += [f"A million calls a day add {in_all * CALLS_A_MONTH / GIB:.0f} GiB in 30 days."]
    return "\n".join(lines)


def _bytes_of(sizes: list[Size]) -> int:
    return sum(size.size_bytes for size in sizes)


def _rows_of(sizes: list[Size]) -> int:
    return max(1, sum(size.rows for size in sizes))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.call_bytes", description=str(__doc__).splitlines()[0])
    parser.add_argument("url", metavar="DATABASE_URL")
    with opened(parser.parse_args().url) as target:
        print(report({table: read_sizes(target, table) for table in TABLES}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
