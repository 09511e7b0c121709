"""Routes compile the code that builds their URLs at its first use."""

from __future__ import annotations

from quart import Quart

from edge.http.lazy_rules import LazyRule


def test_urls_of_a_route_are_built() -> None:
    app = Quart(__name__)
    app.url_rule_class = LazyRule
    app.add_url_rule("/items/<int:number>", "item")
    urls = app.url_map.bind("")
    for _ in range(2):  # the first one compiles
        assert urls.build("item", {"number": 5}) == "/items/5"
        assert urls.build("item", {"number": 5, "page": "a b"}) == "/items/5?page=a+b"
        assert urls.build("item", {"number": 5, "page": "a b"}, append_unknown=False) == "/items/5"
    assert urls.match("/items/7") == ("item", {"number": 7})
