"""`/trust`: a page of what can be checked, from the same document as `/trust.json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quart import Blueprint, Response, request

from edge.api.trust import CACHE_SECONDS, MAX_PROOF_AGE_MS, read_trust_report
from edge.web.model_filters import KIND_NAMES
from edge.web.models import model_path
from edge.web.pages import page
from edge.web.web_session import page_session
from shared.core.timestamps import parse_timestamp
from shared.text.translation import current_language, gettext, lazy_gettext, ngettext, translated

trust_page = Blueprint("trust_page", __name__)
DAY_MS = 24 * 3_600_000
DATA = {
    "prompts": lazy_gettext("Prompts and answers of calls"),
    "kept_answers": lazy_gettext("Answers that callers keep for safe retries, encrypted with their API key"),
    "media_prompts": lazy_gettext("Prompts and input images of media jobs, encrypted"),
    "media_outputs": lazy_gettext("Generated images, videos and speech"),
    "stored_content": lazy_gettext("Conversations and responses that you store"),
    "shares": lazy_gettext("Shares"),
    "calls": lazy_gettext("Calls: ids, model, token counts, credits, status and times"),
    "ledger_entries": lazy_gettext("Charges, and sums of the usage"),
    "ledger_hashes": lazy_gettext("Hashes of the ledger, from which nothing can be read"),
    "pseudonyms": lazy_gettext("Pseudonym of an end user at a provider"),
}
UNTIL = {
    "two_minutes": lazy_gettext("for two minutes"),
    "job_end": lazy_gettext("until the job ends"),
    "deleted": lazy_gettext("until you delete them"),
    "revoked": lazy_gettext("until you revoke them"),
    "purged": lazy_gettext("until you delete your data"),
    "forever": lazy_gettext("forever"),
}


@trust_page.get("/trust")
async def show_trust() -> Response:
    """Return the page. The one for visitors is rendered once for each language and report."""
    report = await read_trust_report()
    # A page with a flash message, which the URL names, is not for other visitors.
    is_visitor, language = page_session().session is None and "done" not in request.args, current_language()
    html = report.pages.get(language) if is_visitor else None
    if html is None:
        rendered = await page("trust.html", **_context(report.document))
        html = await rendered.get_data(as_text=True)
        if is_visitor:
            report.pages[language] = html
    response = Response(html, content_type="text/html; charset=utf-8")
    if is_visitor:
        response.headers["cache-control"] = f"private, max-age={CACHE_SECONDS}"
    return response


def _context(document: Mapping[str, Any]) -> dict[str, Any]:
    head = document["ledger"]["seal"] and document["ledger"]["seal"]["head"]
    return {
        "canonical": f"{document['issuer']}/trust",
        "proofs": {proof["kind"]: proof for proof in document["proofs"]},
        "finished": {
            proof["kind"]: parse_timestamp(proof["finished_at"]) for proof in document["proofs"] if proof["finished_at"]
        },
        "old_days": MAX_PROOF_AGE_MS // DAY_MS,
        "ledger": document["ledger"],
        "head": head,
        "sealed_at": parse_timestamp(head["sealed_at"]) if head else None,
        "retention": [(translated(DATA[row["data"]]), period(row)) for row in document["retention"]],
        "providers": document["providers"],
        "models": document["models"],
        "kind_names": KIND_NAMES,
        "path": model_path,
        "generated_at": parse_timestamp(document["generated_at"]),
        "edge": document["issuer"],
    }


def period(row: Mapping[str, Any]) -> str:
    """Return how long data is kept, in the current language."""
    if "until" in row:
        usual = translated(UNTIL[row["until"]])
    elif row["days"] == 0:
        usual = gettext("not stored")
    else:
        usual = ngettext("{count} day", "{count} days", row["days"])
    others = row.get("plan_days")
    if not others:
        return usual
    days = ngettext("{count} day", "{count} days", others[0]) if len(others) == 1 else None
    if days is None:
        days = gettext("{low} to {high} days", low=others[0], high=others[-1])
    return gettext("{usual}; on some plans {days}", usual=usual, days=days)
