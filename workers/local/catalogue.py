"""What the embedded provider serves, as plain facts. docs/embedded-model.md states the same for people."""

from dataclasses import dataclass

CONTEXT_TOKENS = 4096
"""Prompt and answer together, in tokens, of one conversation with the real model."""


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """One model on offer. Windows and limits are in tokens (in words for demo-echo)."""

    id: str
    name: str
    description: str
    context_window: int
    max_output_tokens: int
    capabilities: tuple[str, ...]
    licence: str


SMOLLM2 = CatalogueEntry(
    id="smollm2-135m-instruct",
    name="SmolLM2 135M Instruct (embedded demo)",
    description=(
        "Tiny local demonstration model (135M parameters, 4-bit), answers are often wrong. "
        "It runs on the CPU of this machine, needs no key and no network, and cannot call tools."
    ),
    context_window=CONTEXT_TOKENS,
    max_output_tokens=2048,
    capabilities=("chat", "streaming", "json_mode", "structured_output", "logprobs"),
    licence="Apache-2.0",
)

DEMO_ECHO = CatalogueEntry(
    id="demo-echo",
    name="Demo echo (no model)",
    description=(
        "Deterministic stand-in without a model: repeats your last message word by word, with exact usage, "
        "tool calls, structured output and scripted faults for trying out a client."
    ),
    context_window=100_000,
    max_output_tokens=10_000,
    capabilities=("chat", "streaming", "tools", "json_mode", "structured_output"),
    licence="same as this project",
)

ENTRIES = (SMOLLM2, DEMO_ECHO)
