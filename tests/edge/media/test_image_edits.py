"""Images made from images: OpenAI's SDK, the form sent to the provider, and input images that are encrypted and deleted."""

from __future__ import annotations

import base64
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest

from edge.http.multipart import read_form
from edge.v1.image_edits import parse_form, parse_json
from shared.core.errors import InvalidRequest
from shared.media.retention import delete_ended_inputs, delete_orphans
from shared.models import MediaJob
from tests.edge.media.media_stack import CANARY, CREDITS, IMAGE, PNG, Customer, MediaStack, image_response
from tests.edge.media.test_purge import wait_for_certificate
from tests.openai_payloads import Json
from tests.servers.process import eventually
from tests.threads import join
from tests.upstream import Request
from tests.upstream_responses import Gate, delayed, error_response

JPEG = b"\xff\xd8\xff\xe0" + bytes(60)
WEBP = b"RIFF\x24\x00\x00\x00WEBPVP8 " + bytes(40)
URL = "data:image/png;base64," + base64.b64encode(PNG).decode()


@pytest.fixture
def client(customer: Customer, media_stack: MediaStack) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{media_stack.edge.url}/v1", api_key=customer.secret, max_retries=0) as made:
        yield made


def sent(request: Request) -> tuple[dict[str, str], list[tuple[str, str, str, bytes]]]:
    """The fields of the form that the provider received, and field, name, type and bytes of its files."""
    form = read_form(request.body, request.headers["content-type"])
    return dict(form.fields), [(field, file.name, file.type, file.data) for field, file in form.files]


def test_an_edit(client: openai.OpenAI, customer: Customer, media_stack: MediaStack) -> None:
    files, before = media_stack.files(), len(media_stack.upstream.calls)
    made: Any = client.images.edit(
        model=customer.image_model,
        image=[("Ann Smith.png", PNG), ("b.jpg", JPEG)],
        mask=("m.png", PNG),
        prompt=CANARY,
        n=2,
        size="1024x1024",
        output_format="webp",
        user="ann",
        extra_body={"input_fidelity": "high"},
    )
    assert [base64.b64decode(item.b64_json) for item in made.data] == [PNG, PNG]
    assert (made.yout["credits_charged"], made.yout["balance"]) == (2 * IMAGE, CREDITS - 2 * IMAGE)
    assert (made.size, made.output_format) == ("1024x1024", "webp")
    [call] = media_stack.upstream.calls[before:]
    fields, images = sent(call)
    assert call.path == "/v1/images/edits"
    assert images == [
        ("image[]", "image.png", "image/png", PNG),
        ("image[]", "image.jpeg", "image/jpeg", JPEG),
        ("mask", "mask.png", "image/png", PNG),
    ]
    assert fields.pop("user") not in ("", "ann")
    assert fields == {
        "model": "acme-model",
        "prompt": CANARY,
        "n": "2",
        "size": "1024x1024",
        "output_format": "webp",
        "input_fidelity": "high",
    }
    eventually(lambda: media_stack.files() == files + 2, "only the outputs are stored")
    job = MediaJob.get(MediaJob.account == customer.account.id)
    assert (job.input_key, job.sealed_params, job.options["operation"]) == (None, None, "edit")


def test_an_edit_in_json(customer: Customer, media_stack: MediaStack) -> None:
    before = len(media_stack.upstream.calls)
    body = {"model": customer.image_model, "prompt": CANARY, "images": [{"image_url": URL}], "mask": {"image_url": URL}}
    reply = customer.post("/v1/images/edits", {**body, "response_format": "url"})
    assert reply.status == 200, reply.body
    assert media_stack.fetch(reply.json["data"][0]["url"]).body == PNG
    fields, images = sent(media_stack.upstream.calls[before])
    assert fields == {"model": "acme-model", "prompt": CANARY, "n": "1"}
    assert [image[0] for image in images] == ["image", "mask"]


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # the SDK deprecates the endpoint
def test_variations(client: openai.OpenAI, customer: Customer, media_stack: MediaStack) -> None:
    before = len(media_stack.upstream.calls)
    again = {"Idempotency-Key": "once"}
    jobs = {
        client.images.create_variation(
            model=customer.image_model, image=("a.webp", WEBP), n=3, response_format="url", extra_headers=again
        ).yout["job_uuid"]  # type: ignore[attr-defined]  # ours, beside their fields
        for _ in range(2)
    }
    assert (len(jobs), customer.spent) == (1, 3 * IMAGE)
    [call] = media_stack.upstream.calls[before:]
    assert call.path == "/v1/images/variations"
    assert sent(call) == ({"model": "acme-model", "n": "3"}, [("image", "image.webp", "image/webp", WEBP)])


@contextmanager
def running_edit(customer: Customer, media_stack: MediaStack) -> Iterator[tuple[MediaJob, Path]]:
    """An edit that the provider is working on: its job, and the file with its input images."""
    folder, gate = media_stack.ledger_database.folder / "media", Gate()
    before = {path for path in folder.rglob("*") if path.is_file()}
    media_stack.upstream.script(delayed(gate, image_response(PNG)))
    body = {"model": customer.image_model, "prompt": CANARY, "images": [{"image_url": URL}]}
    caller = threading.Thread(target=customer.post, args=("/v1/images/edits", body), daemon=True)
    caller.start()
    gate.wait_reached()
    [stored] = {path for path in folder.rglob("*") if path.is_file()} - before
    yield MediaJob.get(MediaJob.account == customer.account.id), stored
    gate.open()
    join(caller)
    eventually(lambda: {path for path in folder.rglob("*") if path.is_file()} == before, "the late image is discarded")
    assert customer.spent == 0


def test_input_images_are_encrypted_until_the_job_ends(customer: Customer, media_stack: MediaStack) -> None:
    with running_edit(customer, media_stack) as (job, stored):
        data = stored.read_bytes()
        assert PNG not in data
        assert base64.b64encode(PNG)[:40] not in data
        delete_orphans_of_all_folders(media_stack, stored)
        assert customer.post(f"/api/media/jobs/{job.id}/cancel/").json["status"] == "cancelled"
        delete_ended_inputs(media_stack.storage)
        assert not stored.exists()
        assert MediaJob.get_by_id(job.id).input_key is None


def delete_orphans_of_all_folders(media_stack: MediaStack, stored: Path) -> None:
    """Run the cleanup of files without a row as if `stored` were two days old."""
    old = time.time() - 2 * 86_400
    os.utime(stored, (old, old))
    for _ in range(256):
        delete_orphans(media_stack.storage)
    assert stored.exists()


def test_input_images_are_purged_with_a_running_job(customer: Customer, media_stack: MediaStack) -> None:
    with running_edit(customer, media_stack) as (job, stored):
        wait_for_certificate(customer)
        assert not stored.exists()
        assert MediaJob.get_or_none(MediaJob.id == job.id) is None


def test_a_failure_and_a_refusal_leave_no_file(client: openai.OpenAI, customer: Customer, media_stack: MediaStack) -> None:
    files = media_stack.files()
    media_stack.upstream.script(error_response(400, {"error": {"message": "no", "code": "moderation_blocked"}}))
    with pytest.raises(openai.BadRequestError) as blocked:
        client.images.edit(model=customer.image_model, image=("a.png", PNG), prompt=CANARY)
    assert blocked.value.code == "moderation_blocked"
    poor = media_stack.customer(credits=IMAGE - 1)
    with pytest.raises(openai.APIStatusError) as broke:
        client.with_options(api_key=poor.secret).images.edit(model=customer.image_model, image=("a.png", PNG), prompt=CANARY)
    assert broke.value.status_code == 402
    with pytest.raises(openai.NotFoundError):
        client.images.edit(model=customer.speech_model, image=("a.png", PNG), prompt=CANARY)
    eventually(lambda: media_stack.files() == files, "the input images are deleted")
    assert customer.spent == 0


def form(*files: tuple[str, bytes], **fields: str) -> tuple[bytes, str]:
    parts = [
        f'--b\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode() for name, value in fields.items()
    ]
    for name, data in files:
        head = f'--b\r\ncontent-disposition: form-data; name="{name}"; filename="a.png"\r\ncontent-type: image/png\r\n\r\n'
        parts.append(head.encode() + data + b"\r\n")
    return b"".join(parts) + b"--b--\r\n", "multipart/form-data; boundary=b"


@pytest.mark.parametrize(
    ("operation", "files", "fields", "param"),
    [
        ("edit", [("image", PNG)], {"prompt": ""}, "prompt"),
        ("edit", [], {}, "image"),
        ("edit", [("image[]", PNG)] * 17, {}, "image"),
        ("edit", [("image", b"<svg></svg>")], {}, "image"),
        ("edit", [("image", b"GIF89a" + bytes(60))], {}, "image"),
        ("edit", [("image", PNG), ("mask", JPEG)], {}, "mask"),
        ("edit", [("image", PNG), ("mask", PNG), ("mask", PNG)], {}, "mask"),
        ("edit", [("image", PNG), ("other", PNG)], {}, "other"),
        ("edit", [("image", PNG)], {"mask": "text"}, "mask"),
        ("edit", [("image", PNG)], {"n": "11"}, "n"),
        ("edit", [("image", PNG)], {"n": "two"}, "n"),
        ("edit", [("image", PNG)], {"size": "huge"}, "size"),
        ("edit", [("image", PNG)], {"stream": "true"}, "stream"),
        ("edit", [("image", PNG)], {"response_format": "svg"}, "response_format"),
        ("variation", [("image", PNG)] * 2, {}, "image"),
        ("variation", [("image", PNG), ("mask", PNG)], {}, "mask"),
    ],
)
def test_an_invalid_field_of_a_form_is_named(
    operation: str, files: list[tuple[str, bytes]], fields: dict[str, str], param: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_form(operation, *form(*files, **{"model": "m", "prompt": "x", **fields}))
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"images": None}, "images"),
        ({"images": []}, "images"),
        ({"images": [{"image_url": URL}] * 17}, "images"),
        ({"images": [{"file_id": "file-1"}]}, "images[0].image_url"),
        ({"images": [{"image_url": "https://example.com/a.png"}]}, "images[0].image_url"),
        ({"images": [{"image_url": "data:image/png;base64,!"}]}, "images[0].image_url"),
        ({"images": [{"image_url": "data:image/png;base64,AAAA"}]}, "image"),
        ({"mask": "x"}, "mask"),
        ({"image": URL}, "image"),
        ({"stream": True}, "stream"),
    ],
)
def test_an_invalid_field_of_json_is_named(fields: Json, param: str) -> None:
    body = {"model": "m", "prompt": "x", "images": [{"image_url": URL}], **fields}
    with pytest.raises(InvalidRequest) as caught:
        parse_json(json.dumps(body).encode())
    assert caught.value.param == param


def test_equal_forms_are_the_same_request() -> None:
    data, content_type = form(("image", PNG), model="m", prompt="x")
    other = data.replace(b"--b", b"--c")
    first, second = parse_form("edit", data, content_type), parse_form("edit", other, "multipart/form-data; boundary=c")
    assert first.idempotency_body == second.idempotency_body
    assert first.idempotency_body != parse_form("edit", *form(("image", JPEG), model="m", prompt="x")).idempotency_body
