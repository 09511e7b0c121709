"""Calls of aliases on every surface: who serves and is charged, what callers see, and what happens after the shutdown."""

from __future__ import annotations

import json
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from itertools import product
from typing import Any

import pytest

from shared.core.clock import now_ms
from shared.core.timestamps import format_timestamp
from shared.operations.model_aliases import create_alias, update_alias
from shared.operations.model_deprecation import deprecate_model
from tests import factories
from tests.edge.sdks.scripts import text_answer
from tests.edge.shared_edge import DEFAULT_COST, Reply, Sandbox
from tests.factories import ORIGIN
from tests.openai_payloads import completion, tokens
from tests.servers.process import eventually
from tests.upstream_responses import error_response, json_response

DAY_MS = 86_400_000
MESSAGES = {"messages": [{"role": "user", "content": "Hi"}]}
Named = Callable[..., str]


@pytest.fixture
def named(sandbox: Sandbox) -> Named:
    """Create an alias of the sandbox's model, and wait until the edge knows it."""

    def create(suffix: str = "alias", model: str | None = None, **fields: Any) -> str:
        name = f"{suffix}-{sandbox.model}"
        create_alias(name, model or sandbox.model, **fields, origin=ORIGIN)
        eventually(lambda: name in sandbox.get("/v1/models").body.decode(), "the edge knows the alias")
        return name

    return create


def post(sandbox: Sandbox, path: str, **body: Any) -> Reply:
    return sandbox.post(json.dumps(body).encode(), path=path)


SURFACES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": MESSAGES,
    "/v1/completions": {"prompt": "Hi"},
    "/v1/responses": {"input": "Hi"},
    "/v1/messages": {**MESSAGES, "max_tokens": 100},
}


def test_the_model_behind_the_alias_serves_on_every_surface(sandbox: Sandbox, named: Named) -> None:
    name = named()
    for path, streams in product(SURFACES, (False, True)):
        sandbox.provider.script(text_answer("Hello there."))
        answer = post(sandbox, path, model=name, stream=streams, **SURFACES[path])
        assert (answer.status, answer.headers["x-yout-model"]) == (200, sandbox.model), path
        documents = answer.chunks if streams else [answer.json]
        owners = [owner for one in documents for owner in (one, one.get("response", {}), one.get("message", {}))]
        assert {owner["model"] for owner in owners if "model" in owner} == {name}, path
        assert not {"deprecation", "sunset", "link"} & answer.headers.keys()
    assert {call.json["model"] for call in sandbox.provider.calls} == {"acme-model"}
    assert [(row.model, row.asked_model, row.credits) for row in sandbox.usage()] == [(sandbox.model, name, DEFAULT_COST)] * 8


def test_a_call_of_the_model_itself_names_no_other(sandbox: Sandbox, named: Named) -> None:
    named()
    assert "x-yout-model" not in sandbox.chat().headers
    assert sandbox.usage()[0].asked_model is None


def test_a_key_that_allows_the_model_allows_its_aliases(sandbox: Sandbox, named: Named) -> None:
    name = named()
    _, narrow = factories.api_key(sandbox.account, allowed_models=[sandbox.model])
    _, other = factories.api_key(sandbox.account, allowed_models=[sandbox.pair])
    allowed, denied = ({"authorization": f"Bearer {secret}"} for secret in (narrow, other))
    assert sandbox.chat(allowed, model=name).status == 200
    assert [entry["id"] for entry in sandbox.get("/v1/models", allowed).json["data"]] == [name, sandbox.model]
    refused = sandbox.chat(denied, model=name)
    assert (refused.status, refused.error["code"]) == (403, "model_not_allowed")
    assert sandbox.get(f"/v1/models/{name}", denied).status == 404
    fallback = sandbox.chat(denied, model=sandbox.pair, models=[name])
    assert (fallback.status, fallback.error["code"]) == (403, "model_not_allowed")


def test_an_alias_as_a_fallback(sandbox: Sandbox, named: Named) -> None:
    name = named(model=sandbox.pair)
    sandbox.provider.script(*[error_response(401)] * 2)
    answer = sandbox.chat(models=[name, sandbox.pair])
    assert (answer.status, answer.json["model"], answer.headers["x-yout-model"]) == (200, name, sandbox.pair)
    assert (len(sandbox.provider.calls), len(sandbox.second.calls)) == (2, 1), "the second name of a model is not tried again"
    assert (sandbox.usage()[0].model, sandbox.usage()[0].asked_model) == (sandbox.pair, sandbox.model)


def test_the_other_endpoints(sandbox: Sandbox, named: Named) -> None:
    name = named(shutdown_at=now_ms() + DAY_MS)
    sandbox.provider.script(json_response(completion("Hello", usage=tokens(7, 3))))
    for path, body in (("/v1/messages/count_tokens", {**MESSAGES, "model": name}), ("/api/quote/", {**MESSAGES, "model": name})):
        answer = post(sandbox, path, **body)
        assert (answer.status, "sunset" in answer.headers) == (200, True), answer
    native = post(sandbox, "/api/chat/stream/", model=name, prompt="Hi")
    assert (native.status, native.chunks[-1]["done"], "sunset" in native.headers) == (200, True, True)


def test_a_deprecated_name_is_announced_on_every_answer(sandbox: Sandbox, named: Named) -> None:
    deprecated, shutdown = 1_798_675_200_000, now_ms() // 1000 * 1000 + DAY_MS
    name = named(deprecated_at=min(deprecated, shutdown), shutdown_at=shutdown, successor=sandbox.pair)
    answers = [
        sandbox.chat(model=name),
        sandbox.chat(model=name, stream=True),
        sandbox.chat({"x-yout-max-credits": "1"}, model=name),
        sandbox.get(f"/v1/models/{name}"),
    ]
    assert [answer.status for answer in answers] == [200, 200, 402, 200]
    for answer in answers:
        assert answer.headers["deprecation"] == f"@{min(deprecated, shutdown) // 1000}"
        assert parsedate_to_datetime(answer.headers["sunset"]).timestamp() * 1000 == shutdown
        assert answer.headers["link"] == f'</v1/models/{sandbox.pair}>; rel="successor-version"'
    entry = answers[-1].json
    assert (entry["alias_of"], entry["canonical_slug"], entry["name"]) == (sandbox.model, sandbox.model, name)
    assert entry["deprecation"]["successor"] == sandbox.pair
    assert entry["pricing"] == sandbox.get(f"/v1/models/{sandbox.model}").json["pricing"]


def test_after_the_shutdown_the_successor_is_named(sandbox: Sandbox, named: Named) -> None:
    name = named(successor=sandbox.pair)
    update_alias(name, {"deprecated_at": 0, "shutdown_at": DAY_MS}, origin=ORIGIN)
    eventually(lambda: name not in sandbox.get("/v1/models").body.decode(), "the edge knows the shutdown")
    for answer in (sandbox.chat(model=name), sandbox.get(f"/v1/models/{name}"), sandbox.chat(model=sandbox.pair, models=[name])):
        assert (answer.status, answer.error["code"], answer.error["param"]) == (404, "model_shut_down", "model")
        assert f"was shut down on 1970-01-02. Use '{sandbox.pair}' instead." in answer.error["message"]
        assert (answer.json["yout"], answer.headers["x-should-retry"]) == ({"successor": sandbox.pair}, "false")
    refused = post(sandbox, "/v1/messages", model=name, max_tokens=10, **MESSAGES)
    assert (refused.status, refused.error["type"], refused.json["yout"]) == (404, "not_found_error", {"successor": sandbox.pair})
    assert (sandbox.charged, sandbox.held) == (0, 0)
    assert sandbox.provider.calls == []


def test_a_deprecated_model_is_announced_and_replaced_by_its_successor(sandbox: Sandbox) -> None:
    shutdown = now_ms() // 1000 * 1000 + DAY_MS
    id = f"old-{sandbox.model}"
    factories.model(id, factories.channel(sandbox.provider.url))
    deprecate_model(id, {"deprecated_at": 0, "shutdown_at": shutdown, "successor": sandbox.pair}, origin=ORIGIN)
    eventually(lambda: "sunset" in sandbox.get(f"/v1/models/{id}").headers, "the edge knows the deprecation")
    for answer in (sandbox.chat(model=id), sandbox.chat(model=id, stream=True), sandbox.get(f"/v1/models/{id}")):
        assert (answer.status, answer.headers["deprecation"]) == (200, "@0")
        assert parsedate_to_datetime(answer.headers["sunset"]).timestamp() * 1000 == shutdown
        assert answer.headers["link"] == f'</v1/models/{sandbox.pair}>; rel="successor-version"'
        assert "x-yout-model" not in answer.headers
    assert "alias_of" not in answer.json
    assert answer.json["deprecation"] == {
        "since": "1970-01-01T00:00:00Z",
        "shutdown": format_timestamp(shutdown).replace(".000", ""),
        "successor": sandbox.pair,
    }
    deprecate_model(id, {"shutdown_at": DAY_MS}, origin=ORIGIN)
    eventually(lambda: sandbox.get(f"/v1/models/{id}").json.get("alias_of") == sandbox.pair, "the edge knows the shutdown")
    answer = sandbox.chat(model=id)
    assert (answer.status, answer.json["model"], answer.headers["x-yout-model"]) == (200, id, sandbox.pair)
    assert ("sunset" in answer.headers, "link" in answer.headers) == (False, True)
    assert (sandbox.usage()[-1].model, sandbox.usage()[-1].asked_model) == (sandbox.pair, id)
