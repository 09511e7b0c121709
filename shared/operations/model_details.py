"""The catalog entry of a model, as staff, operators and templates give it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from shared.models import MODEL_KINDS
from shared.operations.validation import check_choice, check_integer, check_text

MAX_CONTEXT_WINDOW = 100_000_000  # tokens
MODALITIES = {
    "chat": "text->text",
    "embedding": "text->embedding",
    "image": "text->image",
    "video": "text->video",
    "speech": "text->speech",
    "moderation": "text->scores",
    "transcription": "audio->text",
    "rerank": "text->scores",
}


@dataclass(frozen=True, slots=True)
class ModelDetails:
    """A model's catalog entry, except its id, status, prices and channels.

    `context_window` and `max_output_tokens` are in tokens; None means unknown. `modality` (such as `text+image->text`) depends on
    the kind by default. Only a `free` model may have no price. Calls of a `full_hold` model hold their maximum cost, also in
    tight pools.
    """

    description: str = ""
    kind: str = "chat"
    owned_by: str = "yout"
    context_window: int | None = None
    max_output_tokens: int | None = None
    capabilities: Sequence[str] = ()
    modality: str | None = None
    free: bool = False
    full_hold: bool = False

    def columns(self) -> dict[str, Any]:
        """Return the validated values by column of `AIModel`. Raises `InvalidInput`."""
        return {
            "kind": check_choice("kind", self.kind, MODEL_KINDS),
            "description": check_text("description", self.description, 2_000, empty=True),
            "owned_by": check_text("owner", self.owned_by, 100),
            "context_window": _check_tokens("context window", self.context_window),
            "max_output_tokens": _check_tokens("output limit", self.max_output_tokens),
            "is_free": self.free,
            "full_hold": self.full_hold,
            "capabilities": [check_text("capability", tag, 40) for tag in self.capabilities],
            "modality": check_text("modality", self.modality or MODALITIES[self.kind], 64),
        }


DEFAULT_DETAILS = ModelDetails()


def _check_tokens(what: str, tokens: int | None) -> int | None:
    return None if tokens is None else check_integer(f"{what} (tokens)", tokens, 1, MAX_CONTEXT_WINDOW)
