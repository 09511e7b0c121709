"""Bodies of the type `multipart/form-data`."""

from __future__ import annotations

import pytest

from edge.http.multipart import read_form
from shared.core.errors import InvalidRequest
from shared.dialects.form_body import form_body, form_fields


def test_a_json_object_becomes_fields() -> None:
    content_type, body = form_body(form_fields({"n": 1, "a": {"b": [True, "x"]}, "none": None}), [])
    assert read_form(body, content_type).fields == (("n", "1"), ("a[b][]", "true"), ("a[b][]", "x"))


@pytest.mark.parametrize("name", ['n"; x="', 'n"\r\n\r\n10', 'x"\r\ncontent-disposition: form-data; name="n', 'x"; name="n'])
def test_no_name_stands_for_another_field(name: str) -> None:
    content_type, body = form_body([("prompt", "a"), (name, "10")], [])
    assert body.count(b"\r\ncontent-disposition: ") == 2
    with pytest.raises(InvalidRequest, match="invalid"):
        read_form(body, content_type)
