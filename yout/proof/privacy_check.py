"""The privacy check: sends canaries through every route, page and job, then searches every place that could keep them."""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from shared.core.clock import now_ms
from shared.core.errors import YoutError
from shared.core.settings import Settings
from shared.files.storage import Storage, open_storage
from shared.identity.web_sessions import expiry, new_session
from shared.models import WebSession
from shared.operations.audit import Origin
from shared.operations.prices import Rates
from shared.operations.proof_accounts import ProofAccount, ProofModel, create_proof_account, remove_proof_account
from yout.proof.account_state import wait_until_settled
from yout.proof.canary import Finder, new_prefix
from yout.proof.canary_requests import (
    ANSWERED,
    GENERATED,
    STORED,
    CanaryClient,
    own_address,
    send_calls,
    send_failures,
    send_media,
    send_pages,
    send_refused,
    send_stored,
)
from yout.proof.dialect_answers import FAILURES, answer_with
from yout.proof.outgoing import search_outgoing
from yout.proof.places import (
    Expected,
    Hit,
    Place,
    search_database_files,
    search_files,
    search_folder,
    search_media,
    search_record,
    search_redis,
    search_tables,
)
from yout.proof.processes import ProofEdge, ProofProcess, child_environment
from yout.proof.prove_cap import STOP_SECONDS, remove_leftovers, stop_edges, uninterrupted
from yout.proof.scripted_upstream import Answer, Received, ScriptedUpstream

CREDITS = 10_000_000
# Canaries by the place in which they are sent.
CONTENT = ("prompt", "system", "tool", "tool_arguments", "tool_result", "image", "file", "stored")  # the provider must get these
OTHERS = (
    *(
        "answer",
        "error_code",
        "output",
        "filename",
        "user",
        "metadata",
        "idempotency_key",
        "tag",
        "header",
        "user_agent",
        "cookie",
    ),
    *("path", "query", "field", "form", "key"),
)
# What users asked to keep, by column. A tag is a label for the customer's own figures. A provider's error code is kept, also in
# the logs, if it looks like one: letters, digits and underscores.
KEPT: Mapping[str, frozenset[str]] = {
    "conversation.title": frozenset({"stored"}),
    "message.content": frozenset({"stored"}),
    "share.title": frozenset({"stored"}),
    "share.messages": frozenset({"stored"}),
    "stored_response.input": frozenset({"stored"}),
    "stored_response.response": frozenset({"stored"}),
    "usage_ledger.tag": frozenset({"tag"}),
    "media_job.tag": frozenset({"tag"}),
    "media_job.error_code": frozenset({"error_code"}),
    "usage_ledger.error_code": frozenset({"error_code"}),
    "tag_usage.tag": frozenset({"tag"}),
}
_KEPT_NAMES = frozenset().union(*KEPT.values())


class CheckIncomplete(YoutError):
    """Some calls of the check failed, so a search without hits would prove nothing."""


class PrivacyReport(NamedTuple):
    """The names of the canaries, the places that were searched, and the number of requests sent."""

    canaries: Sequence[str]
    places: Sequence[Place]
    requests: int

    @property
    def hits(self) -> list[Hit]:
        """Canaries in places where they must not be."""
        return [hit for place in self.places for hit in place.hits if not hit.expected]

    @property
    def kept(self) -> list[Hit]:
        """Canaries in places where their user asked to keep them."""
        return [hit for place in self.places for hit in place.hits if hit.expected]

    def result(self) -> dict[str, Any]:
        """Return the part of the signed report that is about this check."""
        return {
            "canaries": list(self.canaries),
            "places": [{"name": place.name, "size": place.size, "unit": place.unit, "note": place.note} for place in self.places],
            "hits": [_shown(hit) for hit in self.hits],
            "kept": [_shown(hit) for hit in self.kept],
            "requests": self.requests,
        }


def _shown(hit: Hit) -> dict[str, str]:
    return {"canary": hit.canary, "form": hit.form, "place": hit.place}


def models() -> dict[str, ProofModel]:
    """Return the models that the check calls: of every kind and dialect, and one for each failure."""
    chat = ProofModel("chat", Rates(input=10, output=10))
    failing = dict.fromkeys(FAILURES, chat)
    call = Rates(per_call=10)
    return failing | {
        "chat": chat,
        "anthropic": chat._replace(dialect="anthropic"),
        "gemini": chat._replace(dialect="gemini", path="/v1beta"),
        "responses": chat._replace(dialect="responses"),
        "embedding": ProofModel("embedding", Rates(input=10)),
        "moderation": ProofModel("moderation", call),
        "rerank": ProofModel("rerank", call),
        "transcription": ProofModel("transcription", call),
        "image": ProofModel("image", call),
        "image_error": ProofModel("image", call),
        "speech": ProofModel("speech", Rates(per_1k_characters=10)),
        "video": ProofModel("video", Rates(per_5_seconds=10)),
    }


def check_privacy(settings: Settings, origin: Origin, logs: Sequence[Path], say: Callable[[str], None]) -> PrivacyReport:
    """Run the check on the bound database, and remove what it created.

    Raises `ProcessFailed`, `CheckIncomplete`, and errors of the database, Redis and the media store.
    """
    remove_leftovers(settings, origin)
    since = time.time()
    prefix, storage = new_prefix(), open_storage(settings)
    canaries = {name: f"{prefix}{name.replace('_', '')}" for name in (*CONTENT, *OTHERS)}
    address = own_address(secrets.token_bytes(3))
    with ExitStack() as stack:
        upstream = ScriptedUpstream(lambda request: scripted_answer(request, canaries))
        stack.callback(upstream.close)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="yout-proof-")))
        account = create_proof_account(
            upstream.base_url, CREDITS, models(), settings.secret_key, stores_content=True, origin=origin
        )
        with _removed(account, storage, settings.secret_key, origin):
            upstream.secret = account.channel_secret
            edge, worker = _start(stack, folder)
            client = CanaryClient(edge.url, account.key, address, canaries.__getitem__)
            caller = {"API key": account.key, **({"address": address} if address else {})}
            finder = Finder(prefix, canaries, caller)
            _send_all(client, account, say)
            places = [search_redis(finder, settings.redis_url), search_tables(finder, account.id, Expected(KEPT))]
            stop_edges([edge], settings)
            worker.stop(settings.drain_seconds + STOP_SECONDS)
            wait_until_settled(account.id)
            places.append(search_outgoing(finder, account.id, settings, origin))
            places += _search_disk(finder, settings, storage, folder, since, logs)
            identity = Finder(prefix, canaries, caller | _identity(account))
            places.append(search_record(upstream.requests, identity, frozenset(CONTENT)))
            say("searching again, after the account was removed")
        places.append(_renamed(search_tables(finder, account.id, Expected({})), "after the removal"))
        places.append(_renamed(search_media(finder, storage, since, frozenset()), "after the removal"))
    return PrivacyReport(list(canaries), places, client.sent)


def scripted_answer(request: Received, canaries: Mapping[str, str]) -> Answer:
    """Return the provider's answer, with canaries in everything that it says."""
    if b"proof-image_error" in request.body:
        request = replace(request, body=b"proof-error_400")
    answer = canaries["stored" if canaries["stored"].encode() in request.body else "answer"]
    return answer_with(request, answer, canaries["output"], canaries["error_code"])


@contextmanager
def _removed(account: ProofAccount, storage: Storage, secret_key: str, origin: Origin) -> Iterator[None]:
    try:
        yield
    finally:
        with uninterrupted():
            remove_proof_account(account.id, storage, secret_key, origin=origin)


def _start(stack: ExitStack, folder: Path) -> tuple[ProofEdge, ProofProcess]:
    """Start an edge and a worker, with a folder of their own for temporary files, and debug logging."""
    temporary = folder / "tmp"
    temporary.mkdir()
    environment = {**child_environment(), "TMPDIR": str(temporary), "YOUT_LOG_LEVEL": "debug"}
    edge = ProofEdge(0, folder, environment)
    stack.callback(edge.kill)
    worker = ProofProcess("worker", "workers", environment | {"YOUT_METRICS_PORT": "0"}, folder / "worker-0.log")
    stack.callback(worker.kill)
    edge.wait_ready()
    worker.wait_ready()
    return edge, worker


def _send_all(client: CanaryClient, account: ProofAccount, say: Callable[[str], None]) -> None:
    """Send all requests. Raises `CheckIncomplete` if a call that must succeed fails."""
    answered = send_calls(client, account.models)
    send_failures(client, account.models)
    generated, stored = send_media(client, account.models), send_stored(client, account.models)
    document = client.request("GET", "/openapi.json", key=False).json
    refused = send_refused(client, document)
    pages = send_pages(client, _sign_in(account))
    say(f"{answered} answers, {generated} generated files, {stored} stored, {refused} refused requests, {pages} page requests")
    if (answered, generated, stored) != (ANSWERED, GENERATED, STORED):
        raise CheckIncomplete(
            f"The calls of the check did not work: {answered} were answered, {generated} files were generated, {stored} were"
            " stored. Look for the reason with `yout doctor`."
        )


def _sign_in(account: ProofAccount) -> str:
    """Create a session of the account, and return its cookie."""
    session, now = new_session(), now_ms()
    WebSession.create(digest=session.digest, account=account.id, created_at=now, seen_at=now, expires_at=expiry(now, now))
    return f"yout_session={session.secret}"


def _search_disk(
    finder: Finder, settings: Settings, storage: Storage, folder: Path, since: float, logs: Sequence[Path]
) -> list[Place]:
    kept = _KEPT_NAMES
    temporary = folder / "tmp"
    found = [
        search_database_files(finder, settings, since, kept),
        search_media(finder, storage, since, frozenset({"output"})),
        search_files("logs of the edge and the worker", sorted(folder.glob("*.log")), finder, 0.0, frozenset({"error_code"})),
        search_folder("temporary files of the edge and the worker", temporary, finder, 0.0),
        search_folder("data folder", settings.data_dir, finder, since, kept | {"output"}),
    ]
    return found + ([search_files("given logs", logs, finder)] if logs else [])


def _identity(account: ProofAccount) -> dict[str, str]:
    """Return what identifies the caller, and must not reach the provider."""
    return {"account id": str(account.id), "account id without hyphens": account.id.hex, "email": account.email}


def _renamed(place: Place, when: str) -> Place:
    hits = [hit._replace(place=f"{hit.place}, {when}", expected=False) for hit in place.hits]
    return place._replace(name=f"{place.name}, {when}", hits=hits)
