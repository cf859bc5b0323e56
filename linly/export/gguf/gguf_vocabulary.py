"""Vocabularies in GGUF: pieces with their scores or merges, and special tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from linly.config.chat_format import DEFAULT, read_chat_templates
from linly.errors import ConfigError
from linly.export.gguf.gguf_family import CONVERTER
from linly.tokenization.byte_level import ByteLevelTokenizer
from linly.tokenization.hugging_face.tokenizer_export import why_no_candidate
from linly.tokenization.model_file import CONTROL, NORMAL, UNUSED, USER_DEFINED, parse_model
from linly.tokenization.sentence_piece import SentencePieceTokenizer
from linly.tokenization.tokenizer import Tokenizer

if TYPE_CHECKING:
    from pathlib import Path

    from gguf import GGUFWriter

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


@dataclass(frozen=True, slots=True)
class PreTokenizer:
    """What llama.cpp needs to know of a byte-level vocabulary's pre-tokenizer.

    Attributes:
        patterns: Patterns of its splits, in order.
        splits_as_gpt2: Whether it splits by GPT-2's pattern.
        ignores_merges: Whether a whole word that is a piece is taken without merging.
    """

    patterns: tuple[str, ...]
    splits_as_gpt2: bool
    ignores_merges: bool


PRE_TOKENIZERS = {
    PreTokenizer((), splits_as_gpt2=True, ignores_merges=False): "gpt-2",
    PreTokenizer(
        (rf"{_CONTRACTIONS}|{_WORDS}|\p{{N}}|{_REST}",), splits_as_gpt2=False, ignores_merges=False
    ): "qwen2",
    PreTokenizer(
        (rf"{_CONTRACTIONS}|{_WORDS}|\p{{N}}{{1,3}}|{_REST}",),
        splits_as_gpt2=False,
        ignores_merges=True,
    ): "llama-bpe",
    PreTokenizer(
        (rf"{_CONTRACTIONS}|{_WORDS}|\p{{N}}{{1,3}}|{_REST}",),
        splits_as_gpt2=False,
        ignores_merges=False,
    ): "dbrx",
}
"""llama.cpp's names of the pre-tokenizers that it has."""


def add_vocabulary(
    writer: GGUFWriter, tokenizer: Tokenizer, folder: Path, *, num_rows: int
) -> tuple[str, ...]:
    """Add a vocabulary and the chat template of its model folder.

    Args:
        writer: Writer of the file.
        tokenizer: The vocabulary.
        folder: Model folder of the vocabulary.
        num_rows: Rows of the embedding; those after the last piece become unused tokens.

    Returns:
        Differences between llama.cpp's ids and the vocabulary's.

    Raises:
        ConfigError: If llama.cpp has no such vocabulary.
    """
    notes: tuple[str, ...] = ()
    if isinstance(tokenizer, SentencePieceTokenizer):
        _add_sentencepiece(writer, tokenizer, num_rows)
    else:
        assert isinstance(tokenizer, ByteLevelTokenizer)
        notes = _add_byte_level(writer, tokenizer, num_rows)
    writer.add_bos_token_id(tokenizer.bos_id)
    writer.add_eos_token_id(tokenizer.eos_id)
    if tokenizer.pad_id is not None:
        writer.add_pad_token_id(tokenizer.pad_id)
    if template := read_chat_templates(folder).get(DEFAULT):
        writer.add_chat_template(template)
    return notes


def _add_sentencepiece(
    writer: GGUFWriter, tokenizer: SentencePieceTokenizer, num_rows: int
) -> None:
    if reason := why_no_candidate(tokenizer):
        raise ConfigError(f"--gguf: llama.cpp cannot read this vocabulary: {reason}")
    model = parse_model(tokenizer.model_bytes, origin="model")
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    _add_tokens(
        writer,
        [piece.piece for piece in model.pieces],
        [piece.type for piece in model.pieces],
        num_rows,
    )
    padding = num_rows - len(model.pieces)
    writer.add_token_scores([piece.score for piece in model.pieces] + [0.0] * padding)
    writer.add_unk_token_id(model.trainer_spec.unk_id)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(model.normalizer_spec.add_dummy_prefix)


def _add_byte_level(
    writer: GGUFWriter, tokenizer: ByteLevelTokenizer, num_rows: int
) -> tuple[str, ...]:
    file = tokenizer.json
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre_tokenizer_name(file))
    special = {added["id"]: bool(added.get("special")) for added in file.get("added_tokens") or ()}
    tokens, types = [], []
    for token in range(tokenizer.vocab_size):
        piece = tokenizer.piece(token)
        if token in special:
            kind = CONTROL if special[token] else USER_DEFINED
        else:
            kind = NORMAL if piece else UNUSED
        tokens.append(piece or f"[PAD{token}]")
        types.append(kind)
    _add_tokens(writer, tokens, types, num_rows)
    merges = file["model"]["merges"]
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in merges])
    first = tokenizer.hugging_face.encode("a", add_special_tokens=True).ids[0]
    writer.add_add_bos_token(first == tokenizer.bos_id)
    normalizer = file.get("normalizer")
    if normalizer is None:
        return ()
    return (
        f"llama.cpp does not apply this vocabulary's normalizer ({normalizer.get('type')}): text "
        f"that it changes gets other ids there",
    )


def _add_tokens(
    writer: GGUFWriter, tokens: Sequence[str], types: Sequence[int], num_rows: int
) -> None:
    padding = range(len(tokens), num_rows)
    writer.add_token_list([*tokens, *(f"[PAD{token}]" for token in padding)])
    writer.add_token_types([*types, *(UNUSED for _ in padding)])


def pre_tokenizer_name(file: Mapping[str, Any]) -> str:
    """llama.cpp's name of the pre-tokenizer in a parsed tokenizer.json.

    Raises:
        ConfigError: If llama.cpp has none that splits text alike.
    """
    written = file["pre_tokenizer"]
    parts = written["pretokenizers"] if written["type"] == "Sequence" else [written]
    *splits, last = parts
    is_plain = (
        last["type"] == "ByteLevel"
        and not last.get("add_prefix_space")
        and all(map(_is_plain_split, splits))
    )
    if is_plain:
        found = PreTokenizer(
            tuple(split["pattern"]["Regex"] for split in splits),
            splits_as_gpt2=last.get("use_regex", True),
            ignores_merges=bool(file["model"].get("ignore_merges")),
        )
        if found in PRE_TOKENIZERS:
            return PRE_TOKENIZERS[found]
    raise ConfigError(
        f"--gguf: found a vocabulary whose pre-tokenizer is not one of "
        f"{', '.join(PRE_TOKENIZERS.values())}; export the model without --gguf and {CONVERTER}"
    )


def _is_plain_split(part: Mapping[str, Any]) -> bool:
    return (
        part["type"] == "Split"
        and part["behavior"] == "Isolated"
        and not part.get("invert")
        and "Regex" in part["pattern"]
    )
