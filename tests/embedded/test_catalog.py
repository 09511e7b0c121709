"""The seeded catalog lists exactly the models that the embedded server serves."""

from __future__ import annotations

from embedded.catalog import ENTRIES
from shared.operations.seed import LOCAL_MODELS


def test_the_seed_lists_the_served_models() -> None:
    assert [model.id for model in LOCAL_MODELS] == [entry.id for entry in ENTRIES]
    windows = {entry.id: (entry.context_window or None, entry.max_output_tokens or None) for entry in ENTRIES}
    assert {model.id: (model.details.context_window, model.details.max_output_tokens) for model in LOCAL_MODELS} == windows
