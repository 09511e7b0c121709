"""The filters of `/models`, from the query of its URL. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple
from urllib.parse import urlencode

from edge.v1.model_documents import architecture
from shared.billing.price_text import example_charge
from shared.billing.rates import PriceList
from shared.catalog.snapshot import CatalogModel
from shared.core.formats import format_credits
from shared.text.translation import gettext, lazy_gettext, translated

PAGE_SIZE = 100
CONTEXTS = (32_000, 128_000, 200_000, 1_000_000)
KIND_NAMES = {
    "chat": lazy_gettext("Chat"),
    "embedding": lazy_gettext("Embeddings"),
    "image": lazy_gettext("Images"),
    "video": lazy_gettext("Video"),
    "speech": lazy_gettext("Text to speech"),
    "transcription": lazy_gettext("Transcription"),
    "moderation": lazy_gettext("Moderation"),
    "rerank": lazy_gettext("Rerank"),
}
SORT_NAMES = {
    "name": lazy_gettext("Name"),
    "price": lazy_gettext("Price"),
    "context": lazy_gettext("Context window"),
    "newest": lazy_gettext("Newest"),
}
PricedModel = tuple[CatalogModel, PriceList]


class ModelFilters(NamedTuple):
    """Filters; "" and 0 mean no filter. `context` is the smallest context window, in tokens."""

    q: str = ""
    provider: str = ""
    kind: str = ""
    modality: str = ""
    feature: str = ""
    context: int = 0
    free: bool = False
    sort: str = "name"

    @classmethod
    def parse(cls, query: Mapping[str, str]) -> ModelFilters:
        """Read the filters of a URL. Invalid values are ignored, so that old links keep working."""
        context = query.get("context", "")
        sort = query.get("sort", "")
        return cls(
            q=query.get("q", "").strip(),
            provider=query.get("provider", ""),
            kind=query.get("kind", ""),
            modality=query.get("modality", ""),
            feature=query.get("feature", ""),
            context=int(context) if context.isascii() and context.isdigit() and len(context) < 10 else 0,
            free=query.get("free") == "1",
            sort=sort if sort in SORT_NAMES else "name",
        )

    def query(self, **changes: object) -> str:
        """Return the URL query of these filters with `changes`: `?kind=chat&free=1`, or "" without filters."""
        values = {**self._asdict(), **changes}
        values["free"] = "1" if values["free"] else ""
        if values["sort"] == "name":
            values["sort"] = ""
        text = urlencode({name: value for name, value in values.items() if value})
        return f"?{text}" if text else ""

    def active(self) -> list[tuple[str, str]]:
        """Return the filters that are set, each as text and the query without it."""
        words = {
            "q": f"“{self.q}”",
            "provider": self.provider,
            "kind": translated(KIND_NAMES.get(self.kind, self.kind)),
            "modality": gettext("{modality} input", modality=self.modality),
            "feature": self.feature,
            "context": context_name(self.context),
            "free": gettext("no account needed"),
        }
        return [(text, self.query(**{name: ""})) for name, text in words.items() if getattr(self, name)]

    def matches(self, model: CatalogModel) -> bool:
        """Return whether a model passes all filters. Every word of `q` must occur in the id, provider, description or tags."""
        text = " ".join((model.id, model.owned_by, model.kind, model.description, *model.capabilities)).lower()
        return (
            all(word in text for word in self.q.lower().split())
            and self.provider in ("", model.owned_by)
            and self.kind in ("", model.kind)
            and (not self.modality or self.modality in modalities(model))
            and (not self.feature or self.feature in model.capabilities)
            and (model.context_window or 0) >= self.context
            and (model.is_free or not self.free)
        )

    def apply(self, models: Iterable[PricedModel]) -> list[PricedModel]:
        """Return the models that match, sorted."""
        found = sorted((entry for entry in models if self.matches(entry[0])), key=lambda entry: entry[0].id)
        match self.sort:
            case "price":
                found.sort(key=lambda entry: example_charge(entry[0].kind, entry[1]).credits)
            case "context":
                found.sort(key=lambda entry: -(entry[0].context_window or 0))
            case "newest":
                found.sort(key=lambda entry: -entry[0].created_at)
        return found


Choices = list[tuple[str | int, str]]


class FilterChoices(NamedTuple):
    """The values of the filters, each with its name on the page."""

    providers: Choices
    kinds: Choices
    modalities: Choices
    features: Choices
    contexts: Choices
    sorts: Choices


def filter_choices(models: Iterable[CatalogModel]) -> FilterChoices:
    """Return the values of each filter that at least one model has."""
    listed = list(models)
    kinds = {model.kind for model in listed}
    largest = max((model.context_window or 0 for model in listed), default=0)
    return FilterChoices(
        [(name, name) for name in sorted({model.owned_by for model in listed}, key=str.lower)],
        [(kind, name) for kind, name in KIND_NAMES.items() if kind in kinds],
        [(name, name) for name in sorted({name for model in listed for name in modalities(model)})],
        [(name, name) for name in sorted({name for model in listed for name in model.capabilities})],
        [(tokens, context_name(tokens)) for tokens in CONTEXTS if tokens <= largest],
        list(SORT_NAMES.items()),
    )


def context_name(tokens: int) -> str:
    """Return the name of a filter by context window: `128 000 tokens or more`."""
    return gettext("{count} tokens or more", count=format_credits(tokens))


def modalities(model: CatalogModel) -> list[str]:
    """Return what the model takes as input: `text`, `image`, …"""
    found: list[str] = architecture(model)["input_modalities"]
    return found
