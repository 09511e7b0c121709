"""Detects a stream that has relayed more than its call pays for, from the text, without a tokenizer. Pure.

The paid tokens include a channel's `reasoning_tokens_limit`, if it has that setting.

A lower bound of any provider's token count is compared with twice the call's output limit, so a provider that honors the limit
never exceeds it. Tokens do not span words, so a text has at least as many tokens as words. In text without spaces, apart from
runs of one character (rules, padding), no vocabulary averages more than 16 bytes per token.
"""

from __future__ import annotations

import re

MARGIN_FACTOR = 2  # tolerance for the provider's tokenizer
MARGIN_TOKENS = 256
MAX_BYTES_PER_TOKEN = 16  # maximum bytes per token of text other than runs of one character
MAX_RUN_BYTES_PER_TOKEN = 256  # maximum bytes per token of such runs: the longest tokens are 128 spaces or dashes
MAX_KEPT_TEXT_BYTES = 128 * 1024  # bytes of an answer's text kept for counting; the rest is counted in proportion

# Text below this many bytes per token is not checked: ordinary text has four or five.
_UNSUSPICIOUS_BYTES_PER_TOKEN = 6
_UNSUSPICIOUS_BYTES = 1_024
_SAMPLE_BYTES = 16 * 1024  # bytes of a text that are searched for runs
_NEXT_LOOK = 1.25  # the text grows by a quarter between two checks

# Allowed in addition to the text: JSON envelopes, log probabilities, images and audio.
_OVERHEAD_BYTES_PER_TOKEN = 16 * 1024
_OVERHEAD_BYTES = 16_000_000

_CHARACTER = rb"[\xe0-\xef][\x80-\xbf]{2}|[\xc2-\xdf][\x80-\xbf]|[\xf0-\xf4][\x80-\xbf]{3}|."
_RUN = re.compile(rb"(%b)\1{3,}" % _CHARACTER, re.DOTALL)


class RelayLimit:
    """The limit of one stream of a call that pays for `tokens` output tokens, over all choices.

    `next_check_at` is the number of text bytes at which to call `exceeded` next, `max_bytes` the limit on all bytes of the
    stream.
    """

    __slots__ = ("max_bytes", "next_check_at", "tokens")

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        self.next_check_at = _UNSUSPICIOUS_BYTES_PER_TOKEN * tokens + _UNSUSPICIOUS_BYTES
        self.max_bytes = _OVERHEAD_BYTES_PER_TOKEN * tokens + _OVERHEAD_BYTES

    def exceeded(self, text: bytes | bytearray, size: int) -> bool:
        """Whether an answer with `size` bytes of text, which begins with `text`, is over the limit; sets the next
        `next_check_at`."""
        self.next_check_at = int(size * _NEXT_LOOK)
        limit = MARGIN_FACTOR * self.tokens + MARGIN_TOKENS
        if size > MAX_RUN_BYTES_PER_TOKEN * limit:
            return True
        return min_token_count(text) * size > limit * max(len(text), 1)


def unpriced_limit(max_bytes: int) -> RelayLimit:
    """Return the limit of a stream whose price does not depend on its tokens."""
    limit = RelayLimit(0)
    limit.max_bytes = limit.next_check_at = max_bytes
    return limit


def min_token_count(text: bytes | bytearray) -> int:
    """A lower bound of the tokens that `text` (UTF-8) has in any provider's vocabulary."""
    sample = text[:_SAMPLE_BYTES]
    without_runs = len(_RUN.sub(rb"\1", sample)) * len(text) // max(len(sample), 1)
    return max(len(text.split()), without_runs // MAX_BYTES_PER_TOKEN)


def max_answer_bytes(tokens: int, limit: int) -> int:
    """Maximum bytes of a non-streaming answer: room for `tokens` with log probabilities, and for a few images."""
    return min(limit, 8_000_000 + 8_192 * tokens)
