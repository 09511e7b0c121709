"""Which tables are distributed by account, and whether a statement names the account that a distributed engine routes it by.

A table's rows are named by a condition that must hold for all of them: its account column equals a parameter, or `ANY` of one
array. That counts through equalities with columns of other tables in the same statement, and with those of an outer statement.
Each inserted row must have the account.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import sqlglot
from sqlglot import exp

# The account column of each table that `docs/scaling.md` distributes by account.
ACCOUNT_COLUMNS = {
    "account": "id",
    **dict.fromkeys(("overage_entry", "allowance", "hold", "ledger_entry", "usage_ledger", "idempotency_claim"), "account_id"),
    **dict.fromkeys(("account_usage", "account_total", "key_usage", "tag_usage"), "account"),
    **dict.fromkeys(("webhook_secret", "subscription", "stored_response", "share", "account_note"), "account_id"),
}


class _Column(NamedTuple):
    table: str  # its alias
    name: str


_Named = frozenset[_Column]  # columns that a statement fixes to given values


def unrouted_tables(statement: str) -> list[str]:
    """Return the distributed tables whose rows a statement of psycopg reads or writes without naming their account.

    Raises `sqlglot.errors.ParseError`.
    """
    tree = sqlglot.parse_one(statement.replace("%s", "$1"), dialect="postgres")
    return sorted(set(_check(tree, frozenset())))


def _check(statement: exp.Expr, outer: _Named) -> Iterator[str]:
    """Yield the tables that `statement`, or one in it, does not name. `outer` columns are those of enclosing statements."""
    named = outer
    if isinstance(statement, exp.Insert):
        yield from _check_insert(statement)
    elif isinstance(statement, exp.Select | exp.Update | exp.Delete):
        tables = dict(_tables(statement))
        named = _named(statement, list(tables), outer)
        for alias, table in tables.items():
            column = ACCOUNT_COLUMNS.get(table)
            if column is not None and _Column(alias, column) not in named:
                yield table
    for inner in _inner(statement):
        yield from _check(inner, named)


def _check_insert(insert: exp.Insert) -> Iterator[str]:
    target = insert.this
    table = target.this if isinstance(target, exp.Schema) else target
    columns = [column.name for column in target.expressions] if isinstance(target, exp.Schema) else []
    if table.name in ACCOUNT_COLUMNS and ACCOUNT_COLUMNS[table.name] not in columns:
        yield table.name


def _inner(node: exp.Expr) -> Iterator[exp.Expr]:
    """Yield the statements directly within a node."""
    for child in node.iter_expressions():
        if isinstance(child, exp.Select | exp.Update | exp.Delete | exp.Insert):
            yield child
        else:
            yield from _inner(child)


def _tables(statement: exp.Expr) -> Iterator[tuple[str, str]]:
    """Yield alias and name of each table of a statement's own FROM, JOIN, UPDATE or DELETE."""
    from_ = statement.args.get("from_")
    sources = [from_.this, *(join.this for join in from_.this.args.get("joins") or ())] if from_ is not None else []
    if isinstance(statement, exp.Update | exp.Delete):
        sources += [statement.this, *(statement.args.get("using") or ())]
    for source in (*sources, *(join.this for join in statement.args.get("joins") or ())):
        if isinstance(source, exp.Table):
            yield source.alias_or_name, source.name


def _named(statement: exp.Expr, aliases: list[str], outer: _Named) -> _Named:
    """Return the columns that the conditions of a statement fix, including those of `outer`."""
    named = set(outer)
    equal: list[tuple[_Column, _Column]] = []  # the first is fixed if the second is
    for condition, only in _conditions(statement):
        if not isinstance(condition, exp.EQ | exp.In):
            continue
        left = _column(condition.this, aliases)
        if isinstance(condition, exp.In):
            if left is not None and condition.expressions and all(map(_is_given, condition.expressions)):
                _add(named, left, only)
            continue
        right = _column(condition.expression, aliases)
        if left is not None and right is not None:
            equal += [pair for pair in ((left, right), (right, left)) if only is None or pair[0].table == only]
        elif left is not None and _is_given(condition.expression):
            _add(named, left, only)
        elif right is not None and _is_given(condition.this):
            _add(named, right, only)
    while found := {first for first, second in equal if second in named} - named:
        named |= found
    return frozenset(named)


def _add(named: set[_Column], column: _Column, only: str | None) -> None:
    if only in (None, column.table):
        named.add(column)


def _conditions(statement: exp.Expr) -> Iterator[tuple[exp.Expr, str | None]]:
    """Yield each condition that all rows meet, and the only table that it restricts: an outer join's keeps rows of the other."""
    where = statement.args.get("where")
    if where is not None:
        yield from ((condition, None) for condition in _conjuncts(where.this))
    for join in statement.args.get("joins") or ():
        if join.args.get("on") is not None and join.side in ("", "LEFT"):
            yield from ((condition, join.this.alias_or_name if join.side else None) for condition in _conjuncts(join.args["on"]))


def _conjuncts(condition: exp.Expr) -> Iterator[exp.Expr]:
    condition = condition.unnest()
    if isinstance(condition, exp.And):
        yield from _conjuncts(condition.left)
        yield from _conjuncts(condition.right)
    else:
        yield condition


def _column(node: exp.Expr, aliases: list[str]) -> _Column | None:
    node = node.unnest()
    if not isinstance(node, exp.Column) or not (node.table or len(aliases) == 1):
        return None
    return _Column(node.table or aliases[0], node.name)


def _is_given(node: exp.Expr) -> bool:
    """Return whether a value is a parameter, a literal, or `ANY` of an array that is one."""
    node = node.unnest()
    while isinstance(node, exp.Any | exp.Cast):
        node = node.this.unnest()
    return isinstance(node, exp.Parameter | exp.Placeholder | exp.Literal)


def is_data_statement(statement: str) -> bool:
    """Return whether a statement reads or writes rows, unlike `BEGIN` or `SET`."""
    return re.match(r"(SELECT|INSERT|UPDATE|DELETE|WITH)\b", statement) is not None
