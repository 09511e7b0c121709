"""The embeddings endpoint of the local model: correct vectors, exact counts, and errors in OpenAI's format."""

from __future__ import annotations

import base64

import numpy
import openai
import pytest

from embedded.minilm import DIMENSIONS, MiniLM
from embedded.model_file import ModelUnavailable
from embedded.wordpiece import load_tokenizer
from tests.embedded.embedded_server import Server, send

MODEL = "all-minilm-l6-v2"
GOOD = {"model": MODEL, "input": "hello"}


def embed(client: openai.OpenAI, *texts: str) -> numpy.ndarray:
    answer = client.embeddings.create(model=MODEL, input=list(texts))
    assert [one.index for one in answer.data] == list(range(len(texts)))
    return numpy.array([one.embedding for one in answer.data])


def test_vectors_are_normalized_and_meaningful(client: openai.OpenAI) -> None:
    vectors = embed(
        client, "A cat sits on the mat.", "A kitten is lying on a rug.", "The stock market fell sharply today.", "Shares dropped."
    )
    assert vectors.shape == (4, DIMENSIONS)
    assert numpy.allclose(numpy.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    alike = vectors @ vectors.T
    assert alike[0, 1] > 0.5 > 0.2 > alike[0, 2]
    assert alike[2, 3] > 0.4 > 0.2 > alike[1, 3]


def test_the_vector_matches_the_original_model(client: openai.OpenAI) -> None:
    """The first numbers that sentence-transformers computes with the 32-bit all-MiniLM-L6-v2 for this sentence."""
    original = [0.0676, 0.0635, 0.0487, 0.0793, 0.0375, 0.0032, 0.0394, -0.0097]
    vector = embed(client, "This is an example sentence")[0][: len(original)]
    assert numpy.dot(vector, original) / numpy.linalg.norm(vector) / numpy.linalg.norm(original) > 0.99


def test_a_vector_does_not_depend_on_the_batch(client: openai.OpenAI) -> None:
    """The same text gives the same vector, alone and in a batch with longer texts."""
    alone = embed(client, "short text")[0]
    beside = embed(client, "a much longer text that would need padding " * 10, "short text")[1]
    assert (alone == beside).all()


def test_float_and_base64_are_the_same(client: openai.OpenAI) -> None:
    floats = client.embeddings.create(**GOOD, encoding_format="float").data[0].embedding
    text = client.embeddings.create(**GOOD, encoding_format="base64").data[0].embedding
    assert isinstance(text, str)
    assert numpy.frombuffer(base64.b64decode(text), "<f4").tolist() == pytest.approx(floats, abs=1e-7)


@pytest.mark.parametrize(
    ("text", "tokens"), [("hello", 3), ("Hello, world!", 6), ("", None), ("unaffable", 5), ("naïve Café", 4), ("東京", 4)]
)
def test_usage_counts_word_pieces_and_two_special_tokens(client: openai.OpenAI, text: str, tokens: int | None) -> None:
    if tokens is None:
        with pytest.raises(openai.BadRequestError):
            client.embeddings.create(model=MODEL, input=text)
        return
    usage = client.embeddings.create(model=MODEL, input=[text, "hello"]).usage
    assert (usage.prompt_tokens, usage.total_tokens) == (tokens + 3, tokens + 3)


def test_the_tokenizer_matches_bert() -> None:
    """Ids according to the model's own tokenizer.json."""
    tokenizer = load_tokenizer()
    cases = {
        "The quick brown fox jumps over the lazy dog.": [101, 1996, 4248, 2829, 4419, 14523, 2058, 1996, 13971, 3899, 1012, 102],
        "unaffable naïve CAFÉ": [101, 14477, 20961, 3468, 15743, 7668, 102],
        "東京 is 12.5€": [101, 1879, 1755, 2003, 2260, 1012, 1019, 30102, 102],
        "x" * 101: [101, 100, 102],
    }
    assert {text: tokenizer.encode(text).ids for text in cases} == cases


def test_a_damaged_vocabulary_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embedded.wordpiece.SHA256", "0" * 64)
    with pytest.raises(ModelUnavailable, match="damaged"):
        MiniLM().tokenize(["x"])


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": None}, "model"),
        ({"input": None}, "input"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", ""]}, "input"),
        ({"input": ["a", None]}, "input"),
        ({"input": {"text": "a"}}, "input"),
        ({"input": 5}, "input"),
        ({"input": [1, True, 3]}, "input"),
        ({"input": [[]]}, "input"),
        ({"input": [[1], "a"]}, "input"),
        ({"input": [[1, -2, 3]]}, "input"),
        ({"input": [[1, 2], [100_256]]}, "input"),
        ({"input": ["a"] * 2049}, "input"),
        ({"dimensions": 256}, "dimensions"),
        ({"dimensions": "384"}, "dimensions"),
        ({"encoding_format": "int8"}, "encoding_format"),
    ],
)
async def test_an_invalid_field_is_a_400_naming_it(server: Server, fields: dict, param: str) -> None:
    status, body = await send(server, "POST", "/v1/embeddings", json=GOOD | fields)
    assert (status, body["error"]["type"], body["error"]["param"]) == (400, "invalid_request_error", param)


def test_token_ids_are_decoded_to_text(client: openai.OpenAI) -> None:
    ids, texts = [[9906, 11, 1917, 0], [15339]], ["Hello, world!", "hello"]
    by_ids = client.embeddings.create(model=MODEL, input=ids, encoding_format="float")
    by_text = client.embeddings.create(model=MODEL, input=texts, encoding_format="float")
    assert [one.embedding for one in by_ids.data] == [one.embedding for one in by_text.data]
    assert by_ids.usage == by_text.usage, "usage must be in the model's own tokens"
    single = client.embeddings.create(model=MODEL, input=ids[1], encoding_format="float")
    assert single.data[0].embedding == by_text.data[1].embedding


async def test_an_id_of_another_vocabulary_is_a_400_with_advice(server: Server) -> None:
    _, body = await send(server, "POST", "/v1/embeddings", json=GOOD | {"input": [[9906], [150_000]]})
    assert "Input 1" in body["error"]["message"]
    assert "check_embedding_ctx_length=False" in body["error"]["message"]


async def test_a_too_long_text(server: Server) -> None:
    status, body = await send(server, "POST", "/v1/embeddings", json=GOOD | {"input": ["fine", "word " * 511]})
    assert (status, body["error"]["code"], body["error"]["param"]) == (400, "context_length_exceeded", "input[1]")
    assert "input 1 has 513" in body["error"]["message"]
    assert (await send(server, "POST", "/v1/embeddings", json=GOOD | {"input": "word " * 510}))[0] == 200


async def test_a_model_of_another_kind_is_a_404(server: Server) -> None:
    status, body = await send(server, "POST", "/v1/embeddings", json=GOOD | {"model": "demo-echo"})
    assert (status, body["error"]["code"]) == (404, "model_not_found")
    assert MODEL in body["error"]["message"]
