"""Account → Media: have a picture, a video or speech made, see it become, show it, and the jobs of before."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from quart import Blueprint, Response, render_template, request
from werkzeug.datastructures import MultiDict

from edge.call.web_auth import session_limits
from edge.http.errors import face
from edge.http.headers import claim_of
from edge.media import jobs, requests, submission
from edge.request_context import AccountCaller, private, services, write
from edge.web.pages import page
from edge.web.web_session import address, csrf_token, go, signed_in
from shared.billing.pricing import MediaUnits, media_quote
from shared.catalog.snapshot import CatalogModel
from shared.core import formats
from shared.core.clock import now_ms
from shared.core.errors import AlreadySent, IdempotencyConflict, InvalidRequest, RequestRefused, Unavailable
from shared.media import cancel
from shared.media.output_urls import public_link
from shared.models import MediaJob
from shared.operations.web_accounts import actor_of

media = Blueprint("account_media", __name__)
JOBS_A_PAGE = 12
KINDS = {"image": "Picture", "video": "Video", "speech": "Speech"}
# What the form offers; the API takes more.
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
USUAL = {"size": "auto", "n": "1", "seconds": "4", "voice": "alloy", "response_format": "mp3", "speed": "1"}


class File(NamedTuple):
    """An output as the page shows it."""

    link: str
    media_type: str
    size_bytes: int


class Shown(NamedTuple):
    """A job as the page shows it; `told` is what the API says of it."""

    job: MediaJob
    told: dict[str, Any]
    files: list[File]

    @property
    def running(self) -> bool:
        return self.job.status in ("queued", "running")


@media.get("/account/media")
async def show_media() -> Response:
    return await _page(_kind(request.args.get("kind")))


@media.post("/account/media")
async def make() -> Response:
    form = await request.form
    kind = _kind(form.get("kind"))
    session = signed_in()
    caller = AccountCaller(
        session.account, actor_of(session.account), address(), session_limits(services(), session), session=session
    )
    try:
        body = orjson.dumps(_body(kind, form))
        call, _ = requests.native(kind, body)
        claim = claim_of(_form_token(form), body)  # submitting the form again finds the same job
        await submission.order(call, submission.Terms(caller, session=session.digest, claim=claim))
    except InvalidRequest as problem:
        return await _page(kind, 422, form, {_field(problem.param): str(problem)})
    except IdempotencyConflict as conflict:
        again = AlreadySent("", "", same=conflict.kind != "key_reused")
        return await _page(kind, face(again).status, form, {"": str(again)})
    except (RequestRefused, Unavailable) as problem:
        return await _page(kind, face(problem).status, form, {"": str(problem)})
    return go(f"/account/media?kind={kind}", "media-ordered")


@media.get("/account/media/price")
async def price() -> Response:
    """What the form's choices cost, for the page's script; `units` are those of the kind."""
    signed_in()
    model = services().catalog.models.get(request.args.get("model", ""))
    if model is None or model.kind not in KINDS:
        raise InvalidRequest("'model' must be one that the form offers.", "model")
    return private({"words": _price_words(model, _units(model.kind, request.args))})


@media.get("/account/media/jobs/<id>")
async def show_job(id: str) -> Response:
    """One job's part of the page, for the page's script."""
    found = await jobs.find(signed_in().account, jobs.job_id(id))
    html = await render_template("account/media_job.html", shown=_shown(found), csrf_token=csrf_token, kinds=KINDS)
    return Response(html, content_type="text/html; charset=utf-8")


@media.post("/account/media/jobs/<id>/cancel")
async def do_cancel(id: str) -> Response:
    account: UUID = signed_in().account
    found = await jobs.find(account, jobs.job_id(id))
    await write(partial(cancel, account, found.job.id))
    return go(f"/account/media?kind={found.job.kind}", "media-cancelled")


async def _page(
    kind: str, status: int = 200, form: MultiDict[str, str] | None = None, wrong: dict[str, str] | None = None
) -> Response:
    after = request.args.get("after")
    found = await jobs.list_jobs(
        signed_in().account, limit=JOBS_A_PAGE + 1, after=jobs.job_id(after) if after else None, kind=kind
    )
    models = _models(kind)
    chosen = form or MultiDict()
    model = next((one for one in models if one.id == chosen.get("model")), models[0] if models else None)
    return await page(
        "account/media.html",
        status,
        kind=kind,
        kinds=KINDS,
        choices=CHOICES[kind],
        usual=USUAL,
        models=models,
        model=model,
        price=_price_words(model, _units(kind, chosen)) if model else "",
        rows=[_shown(one) for one in found[:JOBS_A_PAGE]],
        older=str(found[JOBS_A_PAGE - 1].job.id) if len(found) > JOBS_A_PAGE else None,
        first=after is None,
        form=chosen,
        wrong=wrong or {},
    )


def _kind(text: str | None) -> str:
    return text if text in KINDS else "image"


def _models(kind: str) -> list[CatalogModel]:
    """Those of a kind that have a price and somebody who serves them."""
    offered = services().catalog.models.values()
    return sorted((model for model in offered if model.kind == kind and model.routes and model.price_at(now_ms())), key=_id)


def _id(model: CatalogModel) -> str:
    return model.id


def _shown(found: jobs.FoundJob) -> Shown:
    # Addresses without a host: the page asks the edge that it came from.
    files = [
        File(public_link("", found.job, output, services().settings), output.media_type, output.size_bytes)
        for output in found.outputs
    ]
    return Shown(found.job, jobs.document(found), files)


def _field(param: str | None) -> str:
    """The form has one field for what the API calls prompt or input."""
    return "prompt" if param == "input" else param or ""


def _form_token(form: MultiDict[str, str]) -> bytes:
    token = form.get("form_token", "")
    if not 16 <= len(token) <= 64 or not token.isascii():
        raise InvalidRequest("The form is incomplete. Reload the page and fill it in again.")
    return b"form:" + token.encode()


def _body(kind: str, form: MultiDict[str, str]) -> dict[str, Any]:
    """The form as the API would be sent it."""
    text = form.get("prompt", "").replace("\r\n", "\n")
    body: dict[str, Any] = {"model": form.get("model", ""), "input" if kind == "speech" else "prompt": text}
    for name in CHOICES[kind]:
        value = form.get(name, "")
        if value and value != "auto":
            body[name] = _number(value) if name in ("n", "seconds", "speed") else value
    return body


def _number(text: str) -> int | float | str:
    """The number in `text`, else `text`, for the API's own refusal."""
    try:
        return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else float(text)
    except ValueError:
        return text


def _units(kind: str, given: MultiDict[str, str]) -> MediaUnits:
    """How much the form asks for; nonsense counts as the least."""

    def whole(name: str, most: int) -> int:
        text = given.get(name, USUAL.get(name, ""))
        return min(int(text), most) if text.isascii() and text.isdigit() and len(text) < 8 else 1

    if kind == "image":
        return MediaUnits(max(1, whole("n", requests.MOST_PICTURES)))
    if kind == "video":
        return MediaUnits(seconds=max(1, whole("seconds", requests.MOST_SECONDS)))
    characters = whole("characters", requests.LONGEST_PROMPT) if "characters" in given else len(given.get("prompt", ""))
    return MediaUnits(characters=characters)


def _price_words(model: CatalogModel, units: MediaUnits) -> str:
    found = model.price_at(now_ms())
    if found is None:
        return ""
    cost = media_quote(found, units).bound
    return f"{formats.credits(cost)} credits ({formats.usd(cost, services().settings.credits_per_usd)})"
