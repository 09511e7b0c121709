"""Reranking (`POST /rerank`) in the format of Cohere, Jina, vLLM, Infinity and llama.cpp. Pure.

A channel's `settings` are those of the `openai` dialect (`body`, `headers`, `key_header`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import orjson

from shared.billing.token_usage import PartialUsage, read_openai_usage
from shared.dialects.base import Answer, ChatCall, MalformedStream
from shared.dialects.nonstreaming import NonStreamingDialect
from shared.text.json_depth import is_too_deep

# "How Does Cohere's Pricing Work?": a search unit is a query with up to 100 documents. A document that has more than 500 tokens
# with the query is split into chunks, each counted as a document.
DOCUMENTS_PER_UNIT = 100
CHUNK_TOKENS = 500
# Cohere's default of `max_tokens_per_doc`: longer documents are cut off.
MAX_DOCUMENT_TOKENS = 4_096


class Rerank(NonStreamingDialect):
    """A `Dialect` for calls of the kind `rerank`. `call.choices` is the number of `documents`, which are strings."""

    path = "/rerank"

    def parse_response(self, data: bytes, call: ChatCall, call_id: str, created: int) -> Answer:  # noqa: ARG002  (unused: the edge makes the id)
        """Parse the scores, best first: of all documents, or the best `top_n`. Raises `MalformedStream` if they are invalid."""
        try:
            body = orjson.loads(data)
        except orjson.JSONDecodeError:
            raise MalformedStream("not JSON") from None
        rows = body.get("results") if isinstance(body, dict) else None
        if not isinstance(rows, list) or is_too_deep(data, body):
            raise MalformedStream("not a list of results")
        results = best([_result(row, call.choices) for row in rows], call.body.get("top_n"))
        if len({result["index"] for result in results}) != min(call.choices, call.body.get("top_n") or call.choices):
            raise MalformedStream("not one score for each document")
        return Answer({"model": call.model, "results": results}, _usage(body, call.max_search_units), "", delivered=True)


RERANK = Rerank()


def best(results: list[dict[str, Any]], top_n: int | None) -> list[dict[str, Any]]:
    """Return the `top_n` results (None: all) with the highest scores, best first."""
    return sorted(results, key=lambda result: -result["relevance_score"])[:top_n]


def max_search_units(query: str, documents: list[str], max_document_tokens: int | None) -> int:
    """Return an upper bound of the search units that a provider bills. A token has at least one byte."""
    limit, query_bytes = max_document_tokens or MAX_DOCUMENT_TOKENS, len(query.encode())
    chunks = sum(-(-(query_bytes + min(len(text.encode()), limit)) // CHUNK_TOKENS) for text in documents)
    return -(-chunks // DOCUMENTS_PER_UNIT)


def _result(row: object, count: int) -> dict[str, Any]:
    """Return a result without the document, which the edge adds from the request."""
    if not isinstance(row, dict):
        raise MalformedStream("not an object for each document")
    index, score = row.get("index"), row.get("relevance_score")
    if type(index) is not int or not 0 <= index < count:
        raise MalformedStream("an index without a document")
    if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
        raise MalformedStream("a score that is not a number")
    return {name: value for name, value in row.items() if name != "document"}


def _usage(body: Mapping[str, Any], max_units: int) -> PartialUsage:
    """Return the tokens, which Jina and vLLM report under `usage`, and the search units, which Cohere reports under `meta`."""
    reported = body.get("usage")
    usage = read_openai_usage(reported)
    if usage.input_tokens is None and isinstance(reported, dict):
        usage = usage.merge(read_openai_usage({"input_tokens": reported.get("total_tokens")}))
    meta = body.get("meta")
    units = meta.get("billed_units") if isinstance(meta, dict) else None
    number = units.get("search_units") if isinstance(units, dict) else None
    if isinstance(number, int | float) and number > 1 and float(number).is_integer() and max_units > 1:
        return usage._replace(extra={"search_units": min(int(number), max_units)})
    return usage
