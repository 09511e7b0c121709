"""Account → Media: generate images, videos and speech, follow the jobs, and show their results."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from quart import Blueprint, Response, render_template, request
from werkzeug.datastructures import MultiDict

from edge.call.web_auth import session_limits
from edge.http.errors import error_spec
from edge.http.headers import idempotency_claim
from edge.http.paging import split_page
from edge.media import jobs, requests, submission
from edge.request_context import AccountCaller, services, uncached_json, write
from edge.web.pages import page
from edge.web.web_session import address, csrf_token, redirect_to, require_session
from shared.billing.pricing import MediaUnits, media_quote
from shared.catalog.snapshot import CatalogModel
from shared.core import formats
from shared.core.clock import now_ms
from shared.core.errors import AlreadySubmitted, IdempotencyConflict, InvalidRequest, RequestRefused, Unavailable
from shared.media import cancel_job
from shared.media.output_urls import signed_output_url, signed_thumbnail_url
from shared.models import MediaJob
from shared.text.translation import gettext, lazy_gettext

media = Blueprint("account_media", __name__)
JOBS_PER_PAGE = 12
KINDS = {"image": lazy_gettext("Image"), "video": lazy_gettext("Video"), "speech": lazy_gettext("Speech")}
# The form's options; the API accepts more values.
CHOICES: dict[str, dict[str, tuple[str, ...]]] = {
    "image": {
        "size": ("auto", "1024x1024", "1536x1024", "1024x1536"),
        "n": ("1", "2", "3", "4"),
    },
    "video": {
        "size": ("1280x720", "720x1280", "640x360", "360x640"),
        "seconds": ("4", "5", "8", "10", "12"),
    },
    "speech": {
        "voice": ("alloy", "ash", "ballad", "coral", "echo", "fable", "nova", "onyx", "sage", "shimmer", "verse"),
        "response_format": ("mp3", "wav", "opus", "flac", "aac"),
        "speed": ("0.75", "1", "1.25", "1.5"),
    },
}
DEFAULTS = {"size": "auto", "n": "1", "seconds": "4", "voice": "alloy", "response_format": "mp3", "speed": "1"}


class File(NamedTuple):
    """An output as the page shows it."""

    link: str
    thumbnail: str
    media_type: str
    size_bytes: int


class JobView(NamedTuple):
    """A job as the page shows it. `document` is the job in the API's format."""

    job: MediaJob
    document: dict[str, Any]
    files: list[File]

    @property
    def running(self) -> bool:
        return self.job.status in ("queued", "running")


@media.get("/account/media")
async def show_media() -> Response:
    return await _page(_kind(request.args.get("kind")))


@media.post("/account/media")
async def create_job() -> Response:
    form = await request.form
    kind = _kind(form.get("kind"))
    session = require_session()
    caller = AccountCaller(session, session_limits(services(), session), address())
    try:
        body = orjson.dumps(_body(kind, form))
        call, _ = requests.parse_native_request(kind, body)
        claim = idempotency_claim(_form_token(form), body)  # resubmitting the form returns the same job
        await submission.submit(call, submission.SubmissionContext(caller, claim=claim))
    except InvalidRequest as error:
        return await _page(kind, 422, form, {_field(error.param): str(error)})
    except IdempotencyConflict as conflict:
        again = AlreadySubmitted("", "", same=conflict.code != "key_reused")
        return await _page(kind, error_spec(again).status, form, {"": str(again)})
    except (RequestRefused, Unavailable) as error:
        return await _page(kind, error_spec(error).status, form, {"": str(error)})
    return redirect_to(f"/account/media?kind={kind}", "media-ordered")


@media.get("/account/media/price")
async def price() -> Response:
    """Return the price of the form's choices, for the page's script."""
    require_session()
    model = services().catalog.models.get(request.args.get("model", ""))
    if model is None or model.kind not in KINDS:
        raise InvalidRequest(gettext("'model' must be one of the form's models."), "model")
    return uncached_json({"words": _price_words(model, _units(model.kind, request.args))})


@media.get("/account/media/jobs/<id>")
async def show_job(id: str) -> Response:
    """Return the HTML of one job, for the page's script."""
    found = await jobs.find_job(require_session().account, jobs.parse_job_id(id))
    html = await render_template("account/media_job.html", shown=_shown(found), csrf_token=csrf_token, kinds=KINDS)
    return Response(html, content_type="text/html; charset=utf-8")


@media.post("/account/media/jobs/<id>/cancel")
async def do_cancel(id: str) -> Response:
    account: UUID = require_session().account
    found = await jobs.find_job(account, jobs.parse_job_id(id))
    await write(partial(cancel_job, account, found.job.id))
    return redirect_to(f"/account/media?kind={found.job.kind}", "media-cancelled")


async def _page(
    kind: str, status: int = 200, form: MultiDict[str, str] | None = None, wrong: dict[str, str] | None = None
) -> Response:
    after = request.args.get("after")
    found = await jobs.list_jobs(
        require_session().account, limit=JOBS_PER_PAGE + 1, after=jobs.parse_job_id(after) if after else None, kind=kind
    )
    shown, last = split_page(found, JOBS_PER_PAGE)
    models = _models(kind)
    chosen = form or MultiDict()
    model = next((model for model in models if model.id == chosen.get("model")), models[0] if models else None)
    return await page(
        "account/media.html",
        status,
        kind=kind,
        kinds=KINDS,
        choices=CHOICES[kind],
        usual=DEFAULTS,
        models=models,
        model=model,
        price=_price_words(model, _units(kind, chosen)) if model else "",
        rows=[_shown(job) for job in shown],
        older=str(last.job.id) if last else None,
        first=after is None,
        form=chosen,
        wrong=wrong or {},
    )


def _kind(text: str | None) -> str:
    return text if text in KINDS else "image"


def _models(kind: str) -> list[CatalogModel]:
    """Return the models of a kind that have a price and a route."""
    models = services().catalog.listed.values()
    return sorted((model for model in models if model.kind == kind and model.routes and model.price_at(now_ms())), key=_id)


def _id(model: CatalogModel) -> str:
    return model.id


def _shown(found: jobs.FoundJob) -> JobView:
    # URLs without a host, so that the files come from the same edge as the page.
    settings = services().settings
    files = [
        File(
            signed_output_url("", found.job, output, settings),
            signed_thumbnail_url(found.job, output, settings),
            output.media_type,
            output.size_bytes,
        )
        for output in found.outputs
    ]
    return JobView(found.job, jobs.document(found), files)


def _field(param: str | None) -> str:
    """Return the form field of an API parameter. The prompt field stands for both `prompt` and `input`."""
    return "prompt" if param == "input" else param or ""


def _form_token(form: MultiDict[str, str]) -> bytes:
    token = form.get("form_token", "")
    if not 16 <= len(token) <= 64 or not token.isascii():
        raise InvalidRequest(gettext("The form is incomplete. Reload the page and fill it in again."))
    return b"form:" + token.encode()


def _body(kind: str, form: MultiDict[str, str]) -> dict[str, Any]:
    """Return the form as an API request body."""
    text = form.get("prompt", "").replace("\r\n", "\n")
    body: dict[str, Any] = {"model": form.get("model", ""), "input" if kind == "speech" else "prompt": text}
    for name in CHOICES[kind]:
        value = form.get(name, "")
        if value and value != "auto":
            body[name] = _number(value) if name in ("n", "seconds", "speed") else value
    return body


def _number(text: str) -> int | float | str:
    """Return the number in `text`, or `text` itself, which the API's validation then rejects."""
    try:
        return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else float(text)
    except ValueError:
        return text


def _units(kind: str, form: MultiDict[str, str]) -> MediaUnits:
    """Return the billable units of the form. Invalid values count as the minimum."""

    def integer(name: str, maximum: int) -> int:
        text = form.get(name, DEFAULTS.get(name, ""))
        return min(int(text), maximum) if text.isascii() and text.isdigit() and len(text) < 8 else 1

    if kind == "image":
        return MediaUnits(max(1, integer("n", requests.MAX_IMAGES)))
    if kind == "video":
        return MediaUnits(seconds=max(1, integer("seconds", requests.MAX_SECONDS)))
    characters = integer("characters", requests.MAX_PROMPT_LENGTH) if "characters" in form else len(form.get("prompt", ""))
    return MediaUnits(characters=characters)


def _price_words(model: CatalogModel, units: MediaUnits) -> str:
    found = model.price_at(now_ms())
    if found is None:
        return ""
    cost = media_quote(found, units).bound
    return gettext(
        "{credits} credits ({usd})",
        credits=formats.format_credits(cost),
        usd=formats.format_usd(cost, services().settings.credits_per_usd),
    )
