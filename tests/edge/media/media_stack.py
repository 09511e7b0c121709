"""Helpers of the media tests: models, customers, and the scripted provider's files."""

from __future__ import annotations

import base64
import http.client
import json
import zlib
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

from obstore.store import LocalStore

from edge.http.multipart import read_form
from shared.core.database import transaction
from shared.files.storage import Storage
from shared.media.retention import delete_expired
from shared.models import Account, MediaJob, ModelAlias, UsageLedger
from tests import factories
from tests.edge.ledger_fixture import LedgerDatabase
from tests.edge.shared_edge import Reply, read
from tests.openai_payloads import Json
from tests.servers.edge import WebProcess
from tests.servers.process import Process, eventually
from tests.upstream import Request, Upstream
from tests.upstream_responses import WAIT_SECONDS, ScriptedResponse, json_response

MODEL_SETS = 300
CREDITS = 10_000_000
IMAGE, VIDEO, SPEECH = 40_000, 1_200_000, 15_000  # per image, per five seconds, per thousand characters
SETTINGS = {"media_answer_seconds": 3, "media_job_seconds": 60, "media_max_bytes": 100_000, "outbound_networks": "127.0.0.1/32"}
CANARY = "a lighthouse that nobody has painted yet"


def _png() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    head = chunk(b"IHDR", b"\0\0\0\1\0\0\0\1\x08\0\0\0\0")
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0\0")) + chunk(b"IEND", b"")


PNG = _png()
MP3 = b"ID3\x04\0\0\0\0\0\0" + bytes(200)
MP4 = b"\0\0\0\x18ftypisom\0\0\2\0isomiso2" + bytes(500)


ALLOWING = "image-allowing-num-images"  # a model of which only the second channel allows `num_images`


def create_models(provider_url: str) -> None:
    """Create sets of one model of each kind, so that a circuit breaker opened by one test does not affect another."""
    media = {"input": 0, "output": 0}
    with transaction():
        for number in range(MODEL_SETS):
            channel = factories.channel(provider_url, name=f"set-{number}")
            factories.model(f"image-{number}", channel, kind="image", per_call=IMAGE, **media)
            ModelAlias.create(name=f"painter-{number}", model=f"image-{number}", deprecated_at=0)
            factories.model(f"video-{number}", channel, kind="video", per_5_seconds=VIDEO, **media)
            factories.model(f"voice-{number}", channel, kind="speech", per_1k_characters=SPEECH, **media)
        settings = {"allowed_parameters": {"num_images": "0.04 USD"}, "headers": {"x-channel": "allowing"}}
        allowing = factories.channel(provider_url, settings=settings)
        factories.model(ALLOWING, factories.channel(provider_url), allowing, kind="image", per_call=IMAGE, **media)


def image_response(*files: bytes | str) -> ScriptedResponse:
    """A response with these images: bytes as base64, a str as a URL."""
    items = [{"b64_json": base64.b64encode(file).decode()} if isinstance(file, bytes) else {"url": file} for file in files]
    return json_response({"created": 1, "data": items})


def audio_response(data: bytes = MP3, content_type: str = "audio/mpeg") -> ScriptedResponse:
    return json_response(data, headers={"content-type": content_type})


def video_job(status: str, progress: int = 0, **fields: Any) -> ScriptedResponse:
    return json_response({"id": "video_1", "object": "video", "status": status, "progress": progress, **fields})


def default_script(request: Request) -> ScriptedResponse:
    """The default script: every request succeeds."""
    if request.path.endswith("/images/generations"):
        return image_response(*[PNG] * request.json["n"])
    if "/images/" in request.path:
        count = dict(read_form(request.body, request.headers["content-type"]).fields)["n"]
        return image_response(*[PNG] * int(count))
    if request.path.endswith("/audio/speech"):
        return audio_response()
    if request.path.endswith("/content"):
        return json_response(MP4, headers={"content-type": "video/mp4"})
    return video_job("queued" if request.method == "POST" else "completed")


class MediaStack:
    """The running processes. Each test scripts the provider itself."""

    def __init__(self, edge: WebProcess, worker: Process, upstream: Upstream, ledger_database: LedgerDatabase) -> None:
        self.edge, self.worker, self.upstream, self.ledger_database = edge, worker, upstream, ledger_database
        self._model_sets = iter(range(MODEL_SETS))

    def customer(self, credits: int = CREDITS, **key_options: Any) -> Customer:
        """A new account with a key; also resets the provider to its default script."""
        self.upstream.default = default_script
        owner = factories.account(credits)
        return Customer(self, owner, factories.api_key(owner, **key_options)[1], next(self._model_sets))

    def request(self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None) -> Reply:
        """Send `body` (as JSON unless it is bytes) without a key; read the whole response."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.edge.port, timeout=WAIT_SECONDS * 2)) as connection:
            data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
            connection.request(method, path, data, headers or {})
            return read(connection.getresponse())

    def fetch(self, url: str, headers: dict[str, str] | None = None, method: str = "GET") -> Reply:
        """Fetch a URL from a response."""
        parts = urlsplit(url)
        return self.request(method, f"{parts.path}?{parts.query}", None, headers)

    def expire_files(self) -> None:
        """Run the worker's periodic file cleanup now."""
        delete_expired(self.storage)

    @property
    def storage(self) -> Storage:
        return Storage(LocalStore(self.ledger_database.folder / "media"))

    def files(self) -> int:
        """The number of stored files, without the ledger's seals, which the worker stores."""
        folder = self.ledger_database.folder / "media"
        return sum(1 for path in folder.rglob("*") if path.is_file() and "ledger-heads" not in path.parts)


class Customer:
    """An account, the key it calls with, and the number of the models that it uses."""

    def __init__(self, studio: MediaStack, account: Account, secret: str, models_number: int) -> None:
        self.studio, self.account, self.secret, self.models_number = studio, account, secret, models_number
        self.image_model, self.video_model, self.speech_model = (
            f"image-{models_number}",
            f"video-{models_number}",
            f"voice-{models_number}",
        )

    def body(self, kind: str, **fields: Any) -> Json:
        """A small request body for this kind of media."""
        models = {"image": self.image_model, "video": self.video_model, "speech": self.speech_model}
        return {"model": models[kind], "input" if kind == "speech" else "prompt": CANARY, **fields}

    def request(self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None) -> Reply:
        return self.studio.request(method, path, body, {"authorization": f"Bearer {self.secret}", **(headers or {})})

    def get(self, path: str, headers: dict[str, str] | None = None) -> Reply:
        return self.request("GET", path, None, headers)

    def post(self, path: str, body: object = None, headers: dict[str, str] | None = None) -> Reply:
        return self.request("POST", path, body, headers)

    def submit(self, kind: str = "image", headers: dict[str, str] | None = None, **fields: Any) -> str:
        """Submit a job that must be accepted; returns its id."""
        reply = self.post(f"/api/media/{kind}/", self.body(kind, **fields), headers)
        assert reply.status == 202, reply.body
        return str(reply.json["job_uuid"])

    def job(self, id: str) -> Json:
        """The current state of the job."""
        reply = self.get(f"/api/media/jobs/{id}/")
        assert reply.status == 200, reply.body
        document: Json = reply.json
        return document

    def wait_for_end(self, id: str) -> Json:
        """Wait for the end of the job."""
        eventually(lambda: self.job(id)["status"] not in ("queued", "running"), "the job ends")
        return self.job(id)

    def run_job(self, kind: str = "image", **fields: Any) -> Json:
        """Submit a job and wait for its end."""
        return self.wait_for_end(self.submit(kind, **fields))

    def row(self, id: str) -> MediaJob:
        found: MediaJob = MediaJob.get_by_id(id)
        return found

    @property
    def balance(self) -> int:
        return int(Account.get_by_id(self.account.id).balance)

    @property
    def spent(self) -> int:
        return CREDITS - self.balance

    def usage(self) -> list[UsageLedger]:
        return list(UsageLedger.select().where(UsageLedger.account == self.account.id).order_by(UsageLedger.id))
