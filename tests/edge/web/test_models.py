"""The catalog's pages: filters, a model's page with price, figures and code, and the files for crawlers."""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from uuid import UUID

import pytest

from edge.reference.sdk_examples import sdk_examples
from edge.store.model_health import MIN_CALLS, read_last_day
from edge.web.model_filters import ModelFilters, filter_choices
from shared.billing.rates import PriceList, Rate
from shared.catalog.snapshot import CatalogModel
from shared.core.clock import now_ms
from shared.core.formats import NARROW_SPACE
from shared.models import MODEL_KINDS, AIModel, ModelAlias, UsageLedger
from shared.rollup import update_sums
from tests import factories
from tests.edge.web.conftest import Browser, Site
from tests.servers.process import eventually

ON_SQLITE = pytest.mark.parametrize("running_site", ["sqlite"], indirect=True)

HOUR_MS = 3_600_000
SLASHED = "acme/tiny:free"


def listed(id: str, price: int = 100, **fields: object) -> tuple[CatalogModel, PriceList]:
    plain = {"kind": "chat", "owned_by": "acme", "description": "", "context_window": 8_000, "max_output_tokens": None}
    more = {"modality": "text->text", "capabilities": (), "is_free": False, "created_at": 0, "prices": (), "routes": ()}
    model = CatalogModel(id=id, **{**plain, **more, **fields})  # type: ignore[arg-type]
    return model, PriceList(UUID(int=1), 0, price, price, None, 0, 0)


MODELS = [
    listed("cheap", 1, is_free=True, description="Small and quick."),
    listed("eyes", 500, capabilities=("vision", "tools"), context_window=200_000, owned_by="Other Labs", created_at=5),
    listed("paint", kind="image", modality="text->image", context_window=None),
]
FILTERS = {
    "all, by name": ({}, ["cheap", "eyes", "paint"]),
    "words in any order and field": ({"q": "QUICK small"}, ["cheap"]),
    "a word of the provider": ({"q": "labs"}, ["eyes"]),
    "nothing": ({"q": "quick eyes"}, []),
    "provider": ({"provider": "acme"}, ["cheap", "paint"]),
    "kind": ({"kind": "image"}, ["paint"]),
    "modality": ({"modality": "image"}, ["eyes"]),
    "feature": ({"feature": "tools"}, ["eyes"]),
    "context": ({"context": "128000"}, ["eyes"]),
    "free": ({"free": "1"}, ["cheap"]),
    "by context": ({"sort": "context"}, ["eyes", "cheap", "paint"]),
    "by price": ({"sort": "price", "kind": "chat"}, ["cheap", "eyes"]),
    "newest": ({"sort": "newest"}, ["eyes", "cheap", "paint"]),
    "invalid values": ({"context": "-1", "sort": "x", "free": "yes"}, ["cheap", "eyes", "paint"]),
}


@pytest.mark.parametrize(("query", "ids"), FILTERS.values(), ids=FILTERS)
def test_filters(query: dict[str, str], ids: list[str]) -> None:
    assert [model.id for model, _ in ModelFilters.parse(query).apply(MODELS)] == ids


def test_the_query_of_filters() -> None:
    filters = ModelFilters.parse({"q": "a b", "free": "1", "context": "128000", "sort": "name"})
    assert filters.query() == "?q=a+b&context=128000&free=1"
    assert [query for _, query in filters.active()] == ["?context=128000&free=1", "?q=a+b&free=1", "?q=a+b&context=128000"]
    assert ModelFilters().query() == ""
    assert [value for value, _ in filter_choices(model for model, _ in MODELS).contexts] == [32_000, 128_000, 200_000]


@pytest.mark.parametrize("kind", MODEL_KINDS)
def test_every_kind_of_model_has_examples(kind: str) -> None:
    code = sdk_examples(kind, SLASHED, "https://edge.example/v1")
    assert list(code) == ["curl", "Python", "Node"]
    assert all(SLASHED in text and "https://edge.example/v1" in text for text in code.values())
    compile(code["Python"], "example", "exec")


@pytest.fixture
def catalog_site(site: Site) -> Iterator[Site]:
    channel = factories.channel(site.upstream.url)
    factories.model(SLASHED, channel, input=150, output=600, minimum=10, description="Tiny <b>model</b>.", owned_by="acme")
    factories.model("videos", channel, kind="video", modality="text->video", input=0, output=0, per_5_seconds=1_200_000)
    factories.model("ears", channel, kind="transcription", input=0, output=0, rates=(Rate("second", 0, 100),))
    ModelAlias.create(name="old-tiny", model=SLASHED, deprecated_at=now_ms(), shutdown_at=now_ms() + 90 * 24 * HOUR_MS)
    factories.raise_catalog_version()
    eventually(lambda: site.browser().get("/models/old-tiny").status == 303, "the catalog is loaded")
    yield site
    ModelAlias.delete().execute()
    AIModel.delete().where(AIModel.id << (SLASHED, "videos", "ears")).execute()
    channel.delete_instance()
    factories.raise_catalog_version()


def text_of(browser: Browser, path: str) -> str:
    answer = browser.get(path)
    assert answer.status == 200, path
    return html.unescape(answer.body.decode()).replace(NARROW_SPACE, " ")


@ON_SQLITE
def test_the_list_and_the_pages(catalog_site: Site) -> None:
    browser = catalog_site.browser()
    everything = text_of(browser, "/models")
    assert f'href="/models/{SLASHED}"' in everything
    assert "240 000 credits per second<small>0.24 USD per second</small>" in everything
    assert "6 000 credits per minute" in everything
    assert "/api/" not in everything
    assert "noindex" not in everything
    found = text_of(browser, "/models?kind=video&q=videos")
    assert "1 of " in found
    assert SLASHED not in found
    assert "noindex" in found
    assert text_of(browser, "/models?kind=video&part=results").lstrip().startswith("<div")

    page = text_of(browser, f"/models/{SLASHED}")
    assert f"<title>{SLASHED}: price, context window and API · yout</title>" in page
    assert '<meta name="description" content="Tiny <b>model</b>. Input 0.15, output 0.60 USD per 1M tokens">' in page
    assert '<th scope="row" class="wide">Input</th><td class="right">150 000</td><td class="right">0.15</td>' in page
    assert "1 000 input and 500 output tokens: 450 credits" in page
    assert "<code>old-tiny</code>." in page
    assert "<code>temperature</code>" in page
    assert f'href="/?model={SLASHED.replace(":", "%3A")}"' in page
    assert "tokens" not in re.sub(r".*<h2>Price</h2>|<h2>API.*", "", text_of(browser, "/models/videos"), flags=re.S)
    assert "<p>Tiny <b>" not in browser.get(f"/models/{SLASHED}").body.decode()

    assert browser.get("/models/old-tiny").headers["location"] == f"/models/{SLASHED}"
    assert browser.get("/models/unknown").status == 404
    assert f"/models/{SLASHED}</loc>" in text_of(browser, "/sitemap.xml")
    assert "/sitemap.xml" in text_of(browser, "/robots.txt")


@ON_SQLITE
def test_the_example_of_the_page_runs(catalog_site: Site) -> None:
    member = catalog_site.member()
    assert member.account is not None
    found = re.search(r'aria-label="Python">.*?<code>(.*?)</code>', member.get(f"/models/{SLASHED}").body.decode(), re.S)
    assert found
    environ = {"PATH": os.environ["PATH"], "YOUT_API_KEY": factories.api_key(member.account)[1]}
    code = html.unescape(found[1])
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, bool(done.stdout.strip())) == (0, True), done.stderr


@ON_SQLITE
def test_the_figures_of_the_last_day(catalog_site: Site) -> None:
    account, ended = factories.account(), now_ms() - 3 * HOUR_MS
    for number in range(MIN_CALLS):
        for model in (SLASHED, "videos")[: 2 if number else 1]:
            UsageLedger.create(
                account=account,
                model=model,
                price=UUID(int=1),
                status="failed" if number == 0 else "completed",
                streamed=True,
                created_at=ended,
                first_token_ms=None if number == 0 else 420,
            )
    update_sums(now_ms(), 60)
    figures = read_last_day(now_ms())
    assert "videos" not in figures  # too few calls
    assert figures[SLASHED].uptime == 1 - 1 / MIN_CALLS
    assert 400 <= (figures[SLASHED].first_token_ms or 0) <= 600
    assert read_last_day(now_ms() + 48 * HOUR_MS) == {}
    UsageLedger.delete().where(UsageLedger.account == account).execute()
