"""Elastic holds: how much a call holds in a tight pool instead of its maximum cost. Pure.

In a rich pool, a call holds its maximum cost, because a large hold does not block other calls. In a tight pool, it holds the cost
of its counted input and of the output that recent calls of its model had. The hold of a stream grows while it is relayed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from shared.billing.pricing import Quote, quote

# A pool is rich for a call if its free credits are at least this many times the call's maximum cost.
RICH_FACTOR = 8
# Expected output of a stream whose model has no recent calls; its hold can grow.
UNKNOWN_OUTPUT_TOKENS = 1_024
# Fraction of a model's recent calls whose output the first hold of a stream covers.
TYPICAL_FRACTION = 0.9
# The same for a call whose output is not visible while it runs, so its hold cannot grow; in percent of that output.
HIGH_FRACTION = 0.99
HIGH_PERCENT = 125
MIN_RETRY_SECONDS, MAX_RETRY_SECONDS = 0.5, 5.0
MIN_CALLS = 10  # fewer recent calls are not enough to predict a model's output
# Chat templates add this many tokens to each message at most: role, separators, priming.
MESSAGE_TOKENS = 8

# Tokens of a provider's tokenizer per 100 tokens of o200k_base, by prefix of the provider's model name without its path.
# `python -m bench.tokenizer_margins` measures them; docs/billing.md has the figures. The first match applies.
_DEFAULT_PERCENT = 150
_PERCENT_BY_FAMILY: tuple[tuple[str, int], ...] = (
    *((name, 105) for name in ("gpt-4o", "gpt-4.1", "gpt-5", "gpt-oss", "chatgpt-4o", "o1", "o3", "o4")),  # o200k_base
    *((name, 125) for name in ("claude-2", "claude-3", "claude-haiku-4", "claude-sonnet-4")),
    ("claude", 170),  # up to 1.35 times as many since Opus 4.7 (Claude docs, "Migration guide")
    ("gemini", 135),
    ("gemma", 135),
    ("llama", 115),
    ("qwen", 120),
    ("deepseek", 120),
)


def max_tokenizer_percent(upstream_models: Iterable[str]) -> int:
    """Return the most tokens that any of these models' tokenizers needs for a usual prompt of 100 tokens in o200k_base."""
    return max((_tokenizer_percent(name) for name in upstream_models), default=_DEFAULT_PERCENT)


def _tokenizer_percent(upstream_model: str) -> int:
    name = upstream_model.lower().rpartition("/")[2]
    return next((percent for family, percent in _PERCENT_BY_FAMILY if name.startswith(family)), _DEFAULT_PERCENT)


def expected_cost(quoted: Quote, input_tokens: int, output_tokens: int) -> int:
    """Return the credits to hold in a tight pool: at least the call's minimum, at most its bound.

    Tokens count at the highest rates that may apply to them.
    """
    cost = _cost(quoted, input_tokens, min(output_tokens, quoted.paid_tokens))
    return min(max(cost, quoted.minimum), quoted.bound)


def paid_output(quoted: Quote, input_tokens: int, credits: int) -> int:
    """Return the output tokens that `credits` pay for after the input, at most those that the quote's bound pays for."""
    max_tokens = quoted.paid_tokens
    input_cost = _cost(quoted, input_tokens, 0)
    max_output_cost = _cost(quoted, input_tokens, max_tokens) - input_cost
    if max_output_cost == 0:
        return max_tokens if credits >= input_cost else 0
    return max(0, min((credits - input_cost) * max_tokens // max_output_cost, max_tokens))


def _cost(quoted: Quote, input_tokens: int, output_tokens: int) -> int:
    searches = quoted.costs._replace(output_tokens=0)
    return quote(
        quoted.price, input_bound=input_tokens, input_estimate=input_tokens, output_limit=output_tokens, costs=searches
    ).bound


def spendable(quoted: Quote, held: int, free: int) -> int:
    """Return the credits for the output limit of an answer that is not streamed: the hold, plus at most as much of what is free.

    Its tokens are not visible before it ends, so its hold cannot grow. This bounds the platform's loss, the cost above hold and
    margin, by the amount of the hold.
    """
    return min(held + min(max(free, 0), held), max(quoted.bound, held))


def retry_after_ms(median_age_seconds: float, pick: Callable[[], float]) -> int:
    """Return when to retry a call whose credits other calls hold, in milliseconds.

    `pick` returns a number in [0, 1) and spreads the retries. A call that has run for some time is likely
    to run for as long again.
    """
    spread = 0.75 + pick() / 2
    return round(min(max(median_age_seconds * spread, MIN_RETRY_SECONDS), MAX_RETRY_SECONDS) * 1000)
