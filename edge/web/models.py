"""`/models`: the public catalog with filters, and a page for each model. `/sitemap.xml` and `/robots.txt` are for crawlers."""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import quote

from quart import Blueprint, Response, render_template, request

from edge.http.public_url import edge_url
from edge.reference.sdk_examples import sdk_examples
from edge.request_context import services
from edge.store.model_health import ModelFigures
from edge.v1.model_documents import architecture, supported_parameters
from edge.web.docs.reference import SECTION_OF_KIND, SECTIONS
from edge.web.model_filters import KIND_NAMES, PAGE_SIZE, ModelFilters, PricedModel, filter_choices
from edge.web.pages import page
from edge.web.web_session import redirect_to
from shared.billing.price_text import PriceLine, example_charge, price_lines, price_summary, price_summary_usd
from shared.billing.rates import PriceList
from shared.catalog.snapshot import Alias, CatalogModel
from shared.core.clock import now_ms
from shared.core.errors import ModelShutDown, NotFound
from shared.text.plain_text import truncate
from shared.text.translation import gettext, lazy_gettext

models = Blueprint("model_pages", __name__)
DOCS = ("/docs", *(f"/docs/reference/{slug}" for slug in dict(SECTIONS.values())))
DESCRIPTION_LENGTH = 155  # search engines cut longer descriptions off
# Kinds that /account/media generates.
MEDIA_PAGES = {
    "image": lazy_gettext("Generate images"),
    "video": lazy_gettext("Generate a video"),
    "speech": lazy_gettext("Generate speech"),
}


class ModelRow(NamedTuple):
    """A model as the list shows it."""

    model: CatalogModel
    price: str
    usd: str
    figures: ModelFigures | None


@models.get("/models")
async def list_models() -> Response:
    """Return the models that match the filters. With `part=results`, return only the results, for the page's script."""
    filters, listed, rate = ModelFilters.parse(request.args), priced_models(), services().settings.credits_per_usd
    found = filters.apply(listed)
    first = _page_number() * PAGE_SIZE
    figures = await services().model_health.last_day()
    context: dict[str, Any] = {
        "filters": filters,
        "choices": filter_choices(model for model, _ in listed),
        "active": filters.active(),
        "kind_names": KIND_NAMES,
        "path": model_path,
        "rows": [
            ModelRow(model, price_summary(model.kind, price), price_summary_usd(model.kind, price, rate), figures.get(model.id))
            for model, price in found[first : first + PAGE_SIZE]
        ],
        "count": len(found),
        "total": len(listed),
        "page_number": first // PAGE_SIZE + 1,
        "more": first + PAGE_SIZE < len(found),
    }
    if request.args.get("part") == "results":
        return Response(await render_template("models/results.html", **context), content_type="text/html; charset=utf-8")
    return await page("models/list.html", canonical=f"{edge_url()}/models", **context)


@models.get("/models/<path:model_id>")
async def show_model(model_id: str) -> Response:
    """Return a model's page. An alias redirects to its model. Raises `NotFound`."""
    name = model_id.rstrip("/")
    catalog, now = services().catalog, now_ms()
    try:
        model = catalog.find(name, now)
    except ModelShutDown as error:
        raise NotFound(str(error)) from error
    price = model.price_at(now) if model is not None else None
    if model is None or price is None:
        raise NotFound(lazy_gettext("There is no model '{name}'.", name=truncate(name, 100)))
    if model.id != name:
        return redirect_to(model_path(model.id))
    figures = (await services().model_health.last_day()).get(model.id)
    rate = services().settings.credits_per_usd
    return await page(
        "models/detail.html",
        canonical=edge_url() + model_path(model.id),
        summary=_meta_description(model, price),
        model=model,
        output_limit=model.max_output_tokens or model.default_output_limit,
        modality=architecture(model),
        lines=_shown_lines(model.kind, price, rate),
        upcoming=[
            (later.effective_at, _shown_lines(model.kind, later, rate))
            for later in reversed(model.prices)
            if later.effective_at > now
        ],
        example=example_charge(model.kind, price),
        parameters=supported_parameters(model),
        aliases=_aliases(model.id, now),
        now=now,
        figures=figures,
        examples=sdk_examples(model.kind, model.id, f"{edge_url()}/v1"),
        reference=f"/docs/reference/{SECTION_OF_KIND[model.kind]}",
        kind_names=KIND_NAMES,
        media_page=f"/account/media?kind={model.kind}&model={quote(model.id, safe='')}" if model.kind in MEDIA_PAGES else "",
        media_words=MEDIA_PAGES.get(model.kind),
    )


@models.get("/sitemap.xml")
async def show_sitemap() -> Response:
    """List the public pages for crawlers."""
    own = ["/trust"] if services().settings.trust_page else []
    paths = ["/", "/models", "/playground", *own, *DOCS, *(model_path(model.id) for model, _ in priced_models())]
    return Response(
        await render_template("sitemap.xml", urls=[edge_url() + path for path in paths]),
        content_type="application/xml; charset=utf-8",
    )


@models.get("/robots.txt")
async def show_robots() -> Response:
    """Allow the public pages, except lists with filters, which would be indexed in every combination."""
    lines = ("User-agent: *", "Disallow: /account", "Disallow: /models?", "Disallow: /api/", "Disallow: /v1/")
    return Response("\n".join((*lines, f"Sitemap: {edge_url()}/sitemap.xml", "")), content_type="text/plain; charset=utf-8")


def priced_models() -> list[PricedModel]:
    """Return the active models with their current price."""
    now = now_ms()
    return [(model, price) for model in services().catalog.listed.values() if (price := model.price_at(now)) is not None]


def model_path(model_id: str) -> str:
    """Return the path of a model's page."""
    return f"/models/{quote(model_id, safe='/:@')}"


def _page_number() -> int:
    """Return the number of the requested page, from 0."""
    text = request.args.get("page", "")
    return max(0, int(text) - 1) if text.isascii() and text.isdigit() and len(text) < 6 else 0


def _shown_lines(kind: str, price: PriceList, credits_per_usd: int) -> list[tuple[PriceLine, str]]:
    return [(line, line.usd(credits_per_usd)) for line in price_lines(kind, price)]


def _meta_description(model: CatalogModel, price: PriceList) -> str:
    about = model.description or gettext("{model} by {provider}.", model=model.id, provider=model.owned_by)
    return truncate(
        f"{about} {price_summary_usd(model.kind, price, services().settings.credits_per_usd)}".strip(), DESCRIPTION_LENGTH
    )


def _aliases(model_id: str, now: int) -> list[Alias]:
    """Return the other names of a model that still work."""
    aliases = services().catalog.aliases.values()
    return sorted(
        (alias for alias in aliases if alias.model == model_id and not alias.is_shut_down(now)), key=lambda one: one.name
    )
