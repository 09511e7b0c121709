"""Request shapes: names that no API documents are never stored, and callers cannot fill the table."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import peewee
import pytest

from shared.billing.request_shape import RequestShape, request_shape
from shared.core.database import transaction
from shared.ledger import request_shapes
from shared.ledger.request_shapes import MAX_NAMES_LENGTH, MAX_SHAPES_PER_ACCOUNT, RequestShapes, read_shape, save_shape
from shared.models import RequestShape as Row
from tests.shared.dialects.calls import Json, request_of

FIRST, SECOND = UUID(int=1), UUID(int=2)
HEADERS = (("content-type", "application/json"), ("authorization", "Bearer sk-secret"))


def find(shapes: RequestShapes, *fields: str, account: UUID = FIRST, settings: Json | None = None) -> bytes | None:
    return shapes.find(fields, HEADERS, settings or {}, account)


def test_a_shape_has_known_names_only() -> None:
    shape = request_shape(["stream", "model", "my patient is John", "metadata[a]", "metadata[b]"], ["Host", "accept", "host"])
    assert shape == RequestShape(("metadata", "model", "stream"), ("accept", "host"), 1)
    assert shape.id.hex() == request_shape(["my key", "metadata", "model", "stream"], ["accept", "host"]).id.hex()
    assert "John" not in str(shape.document())


@pytest.mark.parametrize("dialect", ["openai", "anthropic", "gemini", "responses"])
@pytest.mark.parametrize(
    ("fields", "settings"),
    [
        ({"stream": True, "temperature": 1.0, "max_completion_tokens": 5, "user": "ada"}, {}),
        ({"tools": [{"type": "function", "function": {"name": "my_tool"}}], "tool_choice": "auto"}, {}),
        ({"user": "ada"}, {"body": {"own": 1}, "identity": "user_id", "max_tokens": "max_len"}),
    ],
)
def test_every_field_that_a_dialect_writes_is_named(dialect: str, fields: Json, settings: Json) -> None:
    request = request_of(dialect, settings=settings, **fields)
    saved: list[RequestShape] = []
    RequestShapes((), saved.append).find(request.fields, request.headers, settings, FIRST)
    [shape] = saved
    assert (shape.fields, shape.other_fields) == (tuple(sorted(request.fields)), 0)
    assert "my_tool" not in shape.fields


def test_a_shape_is_saved_once_by_its_process() -> None:
    saved: list[RequestShape] = []
    shapes = RequestShapes(("host",), saved.append)
    id = find(shapes, "model", "messages")
    assert find(shapes, "model", "messages", account=SECOND) == find(shapes, "messages", "model") == id
    assert saved[0] == RequestShape(("messages", "model"), ("authorization", "content-type", "host"))
    assert id == saved[0].id
    own = find(shapes, "model", "own", settings={"body": {"own": 1}})
    assert own not in (find(shapes, "model", "own"), None)
    assert [shape.fields for shape in saved[2:]] == [("model", "own"), ("model",)]
    shapes.forget(saved[0].id)  # storing it failed
    find(shapes, "model", "messages")
    assert saved[-1] == saved[0]


def test_a_caller_cannot_add_shapes_without_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[RequestShape] = []
    shapes = RequestShapes((), saved.append)
    found = [find(shapes, "model", f"x{number}") for number in range(MAX_SHAPES_PER_ACCOUNT + 5)]
    assert (len(saved), found[-5:], None in found[:-5]) == (MAX_SHAPES_PER_ACCOUNT, [None] * 5, False)
    assert find(shapes, "model", "x0") == found[0]  # a known one still has its id
    assert find(shapes, "y" * MAX_NAMES_LENGTH, "z", account=SECOND) is None
    assert find(shapes, "model", account=SECOND) is not None
    monkeypatch.setattr(request_shapes, "MAX_SHAPES", len(saved))
    assert find(shapes, "model", "stream", account=SECOND) is None


def test_shapes_are_stored_once_and_within_the_limit(bound_database: peewee.Database, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (request_shape(names, ["host"]) for names in (["model", "user", "no such field"], ["model"]))

    def save(shape: RequestShape) -> Any:
        with transaction():
            save_shape(shape)
        return read_shape(shape.id)

    assert (save(first), save(first), Row.select().count()) == (first, first, 1)
    monkeypatch.setattr(request_shapes, "MAX_SHAPES", 1)
    assert (save(second), save(first), read_shape(None)) == (None, first, None)
