"""A Hugging Face tokenizer that gives sentencepiece's ids, on every text or not at all.

transformers' own conversion differs in corner cases (runs of blanks, a leading blank), so the
`tokenizer.json` is built here: no pre-tokenizer, a normalizer that does what sentencepiece's does,
and merges in the order in which sentencepiece's scores apply them. Where that order cannot be
expressed, nothing is written but the sentencepiece model itself, and the reason is given.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from linly.config.chat import read_chat_templates
from linly.errors import ConfigError
from linly.files import publish, publish_together
from linly.tokenization.byte_level import CONFIG_JSON, ByteLevelTokenizer
from linly.tokenization.hugging_face.auto_tokenizer import complaint, write_byte_level
from linly.tokenization.hugging_face.chat_tokens import (
    NO_CHAT,
    ChatTokens,
    read_chat_tokens,
    template_files,
)
from linly.tokenization.hugging_face.torture import torture_texts
from linly.tokenization.model_file import (
    BPE,
    BYTE,
    CONTROL,
    NORMAL,
    SPACE,
    UNKNOWN,
    parse_model,
)
from linly.tokenization.sentence_piece import SentencePieceTokenizer
from linly.tokenization.tokenizer import Tokenizer

_SMALLEST_TIE = 2


@dataclass(frozen=True, slots=True)
class TokenizerExport:
    """What `export_tokenizer` did.

    Attributes:
        exact: A tokenizer.json was written, and `AutoTokenizer` gives the vocabulary's ids on every
            text tried.
        reason: Why not; None when exact.
        num_verified: Texts on which both were compared.
    """

    exact: bool
    reason: str | None
    num_verified: int


def export_tokenizer(
    tokenizer: Tokenizer,
    directory: Path,
    *,
    source: Path | None = None,
    texts: Iterable[str] = (),
) -> TokenizerExport:
    """Write `tokenizer.model` and, where it is exact, `tokenizer.json` and its configuration.

    A byte-level vocabulary is a `tokenizer.json` already; its own files are written, under a class
    with which `AutoTokenizer` gives its ids.

    Args:
        tokenizer: The vocabulary.
        directory: An existing folder; files of the same names are replaced.
        source: The model folder that the vocabulary comes from, whose chat templates and named
            tokens it keeps.
        texts: To verify on, besides the built-in ones.

    Raises:
        ConfigError: No exact tokenizer.json exists for this vocabulary and the folder holds one.
    """
    if not isinstance(tokenizer, SentencePieceTokenizer):
        assert isinstance(tokenizer, ByteLevelTokenizer)
        pieces = [tokenizer.readable(token) for token in range(tokenizer.vocab_size)]
        hard_texts = torture_texts([piece for piece in pieces if piece])
        num_verified, reason = write_byte_level(tokenizer, directory, chain(hard_texts, texts))
        if source is not None and not read_chat_templates(directory):
            publish_together(directory, template_files(read_chat_templates(source)))
        if read_chat_templates(directory):
            _read_special_tokens(directory / CONFIG_JSON)
        return TokenizerExport(reason is None, reason, num_verified)
    reason = why_not_exact(tokenizer)
    num_verified = 0
    chat = read_chat_tokens(tokenizer, source)
    if reason is None:
        candidate = hugging_face_json(tokenizer, chat)
        tried = list(chat.without_special(chain(torture_texts(tokenizer.pieces()), texts)))
        comparison = compare(tokenizer, candidate, tried)
        num_verified = comparison.num_texts
        reason = comparison.complaint()
    files = {**template_files(chat.templates), "tokenizer.model": tokenizer.model_bytes}
    if reason is None:
        files["tokenizer.json"] = candidate
        files["tokenizer_config.json"] = _configuration(tokenizer, chat)
    elif (directory / "tokenizer.json").exists():
        raise ConfigError(
            f"{directory}: holds a tokenizer.json, but no exact one exists for this vocabulary: "
            f"{reason}; export to another folder"
        )
    publish_together(directory, files)
    if reason is None:
        reason = complaint(directory, tokenizer, tried)
        if reason is not None:  # the model's family has AutoTokenizer build another one
            for name in ("tokenizer.json", "tokenizer_config.json"):
                (directory / name).unlink()
    return TokenizerExport(reason is None, reason, num_verified)


def why_not_exact(tokenizer: SentencePieceTokenizer) -> str | None:
    """Why no list of merges gives this vocabulary's segmentation; None when one does."""
    model = parse_model(tokenizer.model_bytes, origin="model")
    return why_no_candidate(tokenizer) or _why_no_merges(_normal_pieces(model))


def why_no_candidate(tokenizer: SentencePieceTokenizer) -> str | None:
    """Why this kind of vocabulary has no tokenizer.json at all, not even a near one."""
    model = parse_model(tokenizer.model_bytes, origin="model")
    normalizer, trainer = model.normalizer_spec, model.trainer_spec
    if trainer.model_type != BPE or not trainer.byte_fallback:
        return "it is not a BPE vocabulary with byte fallback"
    if (
        normalizer.precompiled_charsmap
        or normalizer.remove_extra_whitespaces
        or not normalizer.escape_whitespaces
        or trainer.treat_whitespace_as_suffix
    ):
        return f"its normalizer ({normalizer.name or 'unnamed'}) changes text"
    odd = [p.piece for p in model.pieces if p.type not in (NORMAL, UNKNOWN, CONTROL, BYTE)]
    if odd:
        return f"it has {len(odd)} user-defined or unused pieces, the first is {odd[0]!r}"
    return None


def _normal_pieces(model: Any) -> dict[str, float]:
    return {p.piece: p.score for p in model.pieces if p.type == NORMAL}


def _why_no_merges(scores: dict[str, float]) -> str | None:
    tied: Counter[float] = Counter()
    for piece, score in scores.items():
        if len(piece) == 1:
            continue
        for cut in range(1, len(piece)):
            for part in (piece[:cut], piece[cut:]):
                if len(part) == 1 and part not in scores:
                    return f"piece {piece!r} is built from {part!r}, which is no piece itself"
        if not _is_blank(piece) and _splits(piece, scores):
            tied[score] += 1
    num_tied = sum(count for count in tied.values() if count >= _SMALLEST_TIE)
    if num_tied:
        return (
            f"{num_tied:,} pieces share their score with another, where sentencepiece takes the "
            f"leftmost and no order of merges can; `--scores ranked` of `linly vocab merge` gives "
            f"each its own"
        )
    return None


def _is_blank(piece: str) -> bool:
    return not piece.strip(SPACE)


def _splits(piece: str, scores: dict[str, float]) -> list[tuple[str, str]]:
    cuts = ((piece[:cut], piece[cut:]) for cut in range(1, len(piece)))
    return [(left, right) for left, right in cuts if left in scores and right in scores]


def merges(scores: dict[str, float]) -> list[tuple[str, str]]:
    """All merges in the order in which sentencepiece prefers them, the best first.

    Blank runs with one score for all (LLaMA's have -1e9) grow from the left: they come last, as
    (run, blank) only, the longest run first.
    """
    blanks: dict[float, list[str]] = defaultdict(list)
    for piece, score in scores.items():
        if _is_blank(piece) and len(piece) > 1:
            blanks[score].append(piece)
    growing = {p for group in blanks.values() if len(group) >= _SMALLEST_TIE for p in group}
    ordered = sorted(
        (piece for piece in scores if len(piece) > 1 and piece not in growing),
        key=lambda piece: -scores[piece],
    )
    found = [split for piece in ordered for split in _splits(piece, scores)]
    runs = sorted(growing, key=len, reverse=True)
    return found + [(run[:-1], SPACE) for run in runs if run[:-1] in scores]


def hugging_face_json(tokenizer: SentencePieceTokenizer, chat: ChatTokens = NO_CHAT) -> bytes:
    """The `tokenizer.json` of a BPE vocabulary with byte fallback."""
    model = parse_model(tokenizer.model_bytes, origin="model")
    bos = tokenizer.piece(tokenizer.bos_id)
    normalizers: list[dict[str, Any]] = []
    stripping: list[dict[str, Any]] = []
    if model.normalizer_spec.add_dummy_prefix:
        normalizers.append({"type": "Prepend", "prepend": SPACE})
        stripping.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    normalizers.append({"type": "Replace", "pattern": {"String": " "}, "content": SPACE})
    normalizers = chat.normalizers(normalizers)
    unknown = next(p.piece for p in model.pieces if p.type == UNKNOWN)
    value = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": token,
                "content": piece.piece,
                "single_word": False,
                "lstrip": piece.piece in chat.lstrip,
                "rstrip": piece.piece in chat.rstrip,
                "normalized": piece.piece in chat.inside,
                "special": True,
            }
            for token, piece in enumerate(model.pieces)
            if piece.type in (UNKNOWN, CONTROL)
        ],
        "normalizer": {"type": "Sequence", "normalizers": normalizers},
        "pre_tokenizer": None,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [_special(bos, 0), {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [
                _special(bos, 0),
                {"Sequence": {"id": "A", "type_id": 0}},
                _special(bos, 1),
                {"Sequence": {"id": "B", "type_id": 1}},
            ],
            "special_tokens": {bos: {"id": bos, "ids": [tokenizer.bos_id], "tokens": [bos]}},
        },
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                *stripping,
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": unknown,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": {piece.piece: token for token, piece in enumerate(model.pieces)},
            "merges": merges(_normal_pieces(model)),
        },
    }
    return orjson.dumps(value, option=orjson.OPT_INDENT_2)


def _special(piece: str, type_id: int) -> dict[str, Any]:
    return {"SpecialToken": {"id": piece, "type_id": type_id}}


def _configuration(tokenizer: SentencePieceTokenizer, chat: ChatTokens) -> bytes:
    """`tokenizer_config.json`.

    The class is the plain one: transformers 5 throws the normalizer away under `LlamaTokenizer`.
    `split_special_tokens` keeps "<s>" in a text what it is to sentencepiece: text. A chat template
    writes special tokens into its text, so a chat model's are read there.
    """
    value: dict[str, Any] = {
        **chat.named,
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": tokenizer.piece(tokenizer.bos_id),
        "eos_token": tokenizer.piece(tokenizer.eos_id),
        "unk_token": tokenizer.piece(0),
        "clean_up_tokenization_spaces": False,
        "split_special_tokens": not chat.templates,
        "model_max_length": 1 << 60,
    }
    if tokenizer.pad_id is not None:
        value["pad_token"] = tokenizer.piece(tokenizer.pad_id)
    return orjson.dumps(value, option=orjson.OPT_INDENT_2)


def _read_special_tokens(path: Path) -> None:
    """Have the special tokens that a chat template writes read as such."""
    config = orjson.loads(path.read_bytes())
    if config.get("split_special_tokens"):
        config["split_special_tokens"] = False
        publish(path, orjson.dumps(config, option=orjson.OPT_INDENT_2))


@dataclass(frozen=True, slots=True)
class Comparison:
    """sentencepiece against a tokenizer.json.

    Attributes:
        num_texts: How many were compared.
        num_different: On how many the ids differ.
        first: The first text that differs.
    """

    num_texts: int
    num_different: int
    first: str | None

    def complaint(self) -> str | None:
        """What is wrong, in a sentence; None when nothing is."""
        if not self.num_different:
            return None
        assert self.first is not None
        return (
            f"the ids differ on {self.num_different:,} of {self.num_texts:,} texts "
            f"({self.num_different / self.num_texts:.2%}), the first is {self.first[:80]!r}"
        )


def compare(
    tokenizer: SentencePieceTokenizer, candidate: bytes, texts: Iterable[str]
) -> Comparison:
    """Encode every text with both and count those whose ids differ."""
    import tokenizers

    other = tokenizers.Tokenizer.from_str(candidate.decode())
    other.encode_special_tokens = True
    num_texts = num_different = 0
    first: str | None = None
    for text in texts:
        num_texts += 1
        ids = other.encode(text, add_special_tokens=False).ids
        if not np.array_equal(tokenizer.encode(text), np.array(ids, dtype=np.int32)):
            num_different += 1
            first = text if first is None else first
    return Comparison(num_texts, num_different, first)
