"""Assets, pages and JSON are compressed; event streams and pages that another site may request are not."""

from __future__ import annotations

import gzip
import re
from uuid import uuid4

import brotli
import pytest

from shared.core.clock import now_ms
from shared.models import MediaJob
from tests.edge.web.conftest import Browser

OWN = {"accept-encoding": "gzip, deflate, br, zstd", "sec-fetch-site": "same-origin"}

pytestmark = pytest.mark.parametrize("running_site", ["sqlite"], indirect=True)


def test_assets_are_compressed_and_cached_for_a_year(browser: Browser) -> None:
    paths = re.findall(r'(?:href|src)="(/assets/[^"]+)"', browser.get("/docs").body.decode())
    assert len(paths) >= 4
    for path in paths:
        plain = browser.get(path)
        assert plain.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert "content-encoding" not in plain.headers
        small = browser.get(path, OWN)
        assert small.headers["content-encoding"] == "br"
        assert small.headers["vary"] == "accept-encoding"
        assert brotli.decompress(small.body) == plain.body
        assert gzip.decompress(browser.get(path, {"accept-encoding": "gzip;q=0.5, br;q=0"}).body) == plain.body
        assert small.headers["etag"] != plain.headers["etag"]
        again = browser.get(path, OWN | {"if-none-match": small.headers["etag"]})
        assert (again.status, again.body) == (304, b"")
        name = path.split("/", 3)[3]
        for old in (f"/assets/{name}", f"/assets/0123456789abcdef/{name}"):  # from before a deployment
            assert browser.get(old).headers["cache-control"] == "public, max-age=300"
            assert browser.get(old).body == plain.body
    assert browser.get("/assets/0123456789abcdef/missing.css").status == 404


def test_pages_and_json_are_compressed(member: Browser) -> None:
    for path in ("/docs", "/account/keys", "/openapi.json"):
        plain, small = member.get(path), member.get(path, OWN)
        assert small.headers["content-encoding"] == "br", path
        assert "accept-encoding" in small.headers["vary"]
        assert int(small.headers["content-length"]) == len(small.body) < len(plain.body) / 2
        assert len(brotli.decompress(small.body)) == pytest.approx(len(plain.body), rel=0.1)
        assert "accept-encoding" in plain.headers["vary"]


@pytest.mark.parametrize("sent", [{"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}, {"sec-fetch-site": ""}])
def test_pages_with_secrets_are_not_compressed_for_other_sites(member: Browser, sent: dict[str, str]) -> None:
    assert "content-encoding" not in member.get("/account/keys", OWN | sent).headers
    member.cookies.clear()
    assert member.get("/docs", OWN | sent).headers["content-encoding"] == "br"


def test_event_streams_are_not_compressed(member: Browser) -> None:
    done = {"progress": 0, "credits_held": 1, "credits_charged": 0, "error_code": "provider_error"}
    times = {"due_at": now_ms(), "deadline_at": now_ms(), "finished_at": now_ms()}
    job = MediaJob.create(
        account=member.account, kind="image", model="x" * 2_000, price=uuid4(), status="failed", **done, **times
    )
    streamed = member.get(f"/api/media/jobs/{job.id}/", OWN | {"accept": "text/event-stream"})
    assert streamed.headers["content-type"].startswith("text/event-stream")
    assert "content-encoding" not in streamed.headers
    assert b"x" * 2_000 in streamed.body
    assert member.get(f"/api/media/jobs/{job.id}/", OWN | {"accept": "application/json"}).headers["content-encoding"] == "br"
