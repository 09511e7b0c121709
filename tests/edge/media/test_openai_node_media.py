"""The unmodified official Node SDK generates images, speech and videos."""

from __future__ import annotations

import base64
import json
from typing import Any

from tests.edge.media.media_stack import IMAGE, MP3, MP4, PNG, VIDEO, Customer, MediaStack
from tests.servers.node import NodeSdk
from tests.servers.process import ROOT


def test_each_kind(node_sdk: NodeSdk, media_stack: MediaStack, customer: Customer) -> None:
    script = (ROOT / "tests" / "node" / "media.mjs").read_text()
    models = {"IMAGE_MODEL": customer.image_model, "SPEECH_MODEL": customer.speech_model, "VIDEO_MODEL": customer.video_model}
    done = node_sdk.run(script, {"BASE_URL": f"{media_stack.edge.url}/v1", "API_KEY": customer.secret, **models})
    assert done.returncode == 0, done.stderr
    found: Any = json.loads(done.stdout)
    assert [base64.b64decode(item["b64_json"]) for item in found["images"]["data"]] == [PNG, PNG]
    assert found["images"]["yout"]["credits_charged"] == 2 * IMAGE
    assert base64.b64decode(found["sound"]["data"]) == MP3
    assert (found["sound"]["type"], found["sound"]["charged"]) == ("audio/mpeg", "195")  # 13 characters
    assert (found["video"]["status"], base64.b64decode(found["video"]["data"])) == ("completed", MP4)
    assert found["error"] == {"name": "BadRequestError", "status": 400, "code": "invalid_request", "param": "n"}
    assert customer.spent == 2 * IMAGE + 195 + VIDEO
