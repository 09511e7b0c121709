"""The tokenizer of the embedding model: WordPiece over the vocabulary of BERT base uncased.

`wordpiece.vocab.xz` is Google's `vocab.txt` (Apache-2.0), which all-MiniLM-L6-v2 shares; `SHA256` is that of the unpacked file.
The package with the model contains no tokenizer.
"""

import hashlib
import lzma
from pathlib import Path
from typing import TYPE_CHECKING

from embedded.model_file import ModelUnavailable

if TYPE_CHECKING:
    from tokenizers import Tokenizer

VOCABULARY = Path(__file__).with_name("wordpiece.vocab.xz")
SHA256 = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"


def load_tokenizer() -> "Tokenizer":
    """Return the tokenizer, which adds the model's two special tokens around each text. Raises ModelUnavailable."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    raw = lzma.decompress(VOCABULARY.read_bytes())
    if hashlib.sha256(raw).hexdigest() != SHA256:
        raise ModelUnavailable(f"{VOCABULARY.name} is damaged; restore it from the repository")
    ids = {piece: number for number, piece in enumerate(raw.decode().splitlines())}
    tokenizer = Tokenizer(models.WordPiece(vocab=ids, unk_token="[UNK]", max_input_chars_per_word=100))  # noqa: S106 (no password)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    markers = [(marker, ids[marker]) for marker in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=markers)
    return tokenizer
