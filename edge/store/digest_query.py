"""The look-up of one key or session by its digest, with its SQL built only once.

Peewee takes 0.7 ms to build the statement for a key, several times as long as the database takes to answer it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from edge.store.database_reader import of_digests
from shared.core.database import database, is_sqlite
from shared.core.shards import is_distributed

_PLACE = "?"  # stands for the digest among the statement's parameters; no digest has this value


class DigestQuery:
    """`select()` returns the query for all rows of `model`, whose table has the digests."""

    def __init__(self, select: Callable[[], Any], model: Any) -> None:
        self._select, self._model = select, model
        self._statement = cache(self._build)  # one for each kind of database

    def row(self, digest: str) -> tuple[Any, ...] | None:
        """Return the selected columns of the row with this digest, or None."""
        if is_distributed():  # the statement also names the account
            found: tuple[Any, ...] | None = of_digests(self._select(), self._model, [digest]).tuples().first()
            return found
        sql, parameters, converters = self._statement(is_sqlite())
        values = database.execute_sql(sql, [digest if value == _PLACE else value for value in parameters]).fetchone()
        if values is None:
            return None
        return tuple(None if value is None else convert(value) for value, convert in zip(values, converters, strict=True))

    def _build(self, _: bool) -> tuple[str, list[Any], list[Callable[[Any], Any]]]:
        """Return the SQL, its parameters, and what converts each column."""
        query = self._select().where(self._model.digest == _PLACE)
        sql, parameters = query.sql()
        return sql, parameters, [column.python_value for column in query.selected_columns]
