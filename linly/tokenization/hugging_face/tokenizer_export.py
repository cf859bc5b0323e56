"""A Hugging Face tokenizer that produces sentencepiece's ids on every text, or is not written.

transformers' own conversion differs in corner cases (runs of blanks, a leading blank), so the
`tokenizer.json` is built here: no pre-tokenizer, a normalizer equivalent to sentencepiece's, and
merges in the order in which sentencepiece's scores apply them. If that order cannot be expressed,
only the sentencepiece model itself is written, and the reason is returned.
"""

from __future__ import annotations

import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from linly.config.chat_format import (
    ADDITIONAL_TEMPLATES,
    DEFAULT,
    TEMPLATE_JSON,
    read_chat_templates,
)
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
    """Result of `export_tokenizer`.

    Attributes:
        exact: Whether a tokenizer.json was written with which `AutoTokenizer` produces the
            vocabulary's ids on every text tried.
        reason: Reason why not; None if exact.
        num_verified: Number of texts on which both were compared.
    """

    exact: bool
    reason: str | None
    num_verified: int


def export_tokenizer(
    tokenizer: Tokenizer,
    directory: Path,
    *,
    source: Path | None = None,
    chat_template: str | None = None,
    texts: Iterable[str] = (),
) -> TokenizerExport:
    """Write `tokenizer.model` and, if it is exact, `tokenizer.json` and its configuration.

    A byte-level vocabulary already is a `tokenizer.json`. Its own files are written, with a class
    for which `AutoTokenizer` produces its ids.

    Args:
        tokenizer: The vocabulary.
        directory: An existing folder; files of the same names are replaced.
        source: Model folder of the vocabulary, whose chat templates and named tokens are kept.
        chat_template: Chat template in place of the folder's own.
        texts: Further texts to verify on, besides the built-in ones.

    Raises:
        ConfigError: If this vocabulary has no exact tokenizer.json but the folder holds one.
    """
    if not isinstance(tokenizer, SentencePieceTokenizer):
        assert isinstance(tokenizer, ByteLevelTokenizer)
        return _export_byte_level(tokenizer, directory, source, chat_template, texts)
    reason, num_verified = why_not_exact(tokenizer), 0
    chat = read_chat_tokens(tokenizer, source, chat_template)
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
            f"{directory}: holds a tokenizer.json, but this vocabulary cannot have an exact one: "
            f"{reason}; export to another folder"
        )
    publish_together(directory, files)
    if reason is None:
        reason = complaint(directory, tokenizer, tried)
        if reason is not None:  # AutoTokenizer builds another one for the model's family
            for name in ("tokenizer.json", "tokenizer_config.json"):
                (directory / name).unlink()
    return TokenizerExport(reason is None, reason, num_verified)


def why_not_exact(tokenizer: SentencePieceTokenizer) -> str | None:
    """Reason why no list of merges produces this vocabulary's segmentation; None if one does."""
    model = parse_model(tokenizer.model_bytes, origin="model")
    return why_no_candidate(tokenizer) or _why_no_merges(_normal_pieces(model))


def why_no_candidate(tokenizer: SentencePieceTokenizer) -> str | None:
    """Reason why this kind of vocabulary has no tokenizer.json, not even an inexact one."""
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
                    return f"piece {piece!r} is built from {part!r}, which is not a piece itself"
        if not _is_blank(piece) and _splits(piece, scores):
            tied[score] += 1
    num_tied = sum(count for count in tied.values() if count >= _SMALLEST_TIE)
    if num_tied:
        return (
            f"{num_tied:,} pieces share their score with another; sentencepiece then merges the "
            f"leftmost, which no order of merges can express; `--scores ranked` of `linly vocab "
            f"merge` gives each its own score"
        )
    return None


def _is_blank(piece: str) -> bool:
    return not piece.strip(SPACE)


def _splits(piece: str, scores: dict[str, float]) -> list[tuple[str, str]]:
    cuts = ((piece[:cut], piece[cut:]) for cut in range(1, len(piece)))
    return [(left, right) for left, right in cuts if left in scores and right in scores]


def merges(scores: dict[str, float]) -> list[tuple[str, str]]:
    """All merges in sentencepiece's order of preference, the best first.

    Runs of blanks that share one score (LLaMA's have -1e9) grow from the left: they come last, only
    as (run, blank), the longest run first.
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


def _export_byte_level(
    tokenizer: ByteLevelTokenizer,
    directory: Path,
    source: Path | None,
    chat_template: str | None,
    texts: Iterable[str],
) -> TokenizerExport:
    pieces = [tokenizer.readable(token) for token in range(tokenizer.vocab_size)]
    hard_texts = torture_texts([piece for piece in pieces if piece])
    num_verified, reason = write_byte_level(tokenizer, directory, chain(hard_texts, texts))
    if chat_template is not None:
        _remove_chat_templates(directory)
        publish_together(directory, template_files({DEFAULT: chat_template}))
    elif source is not None and not read_chat_templates(directory):
        publish_together(directory, template_files(read_chat_templates(source)))
    if read_chat_templates(directory):
        _read_special_tokens(directory / CONFIG_JSON)
    return TokenizerExport(reason is None, reason, num_verified)


def hugging_face_json(tokenizer: SentencePieceTokenizer, chat: ChatTokens = NO_CHAT) -> bytes:
    """Build the `tokenizer.json` of a BPE vocabulary with byte fallback."""
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
        "added_tokens": _added_tokens(model, chat),
        "normalizer": {"type": "Sequence", "normalizers": normalizers},
        "pre_tokenizer": None,
        "post_processor": _beginning_with(bos, tokenizer.bos_id),
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


def _added_tokens(model: Any, chat: ChatTokens) -> list[dict[str, Any]]:
    return [
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
    ]


def _beginning_with(bos: str, bos_id: int) -> dict[str, Any]:
    """The post-processor that puts BOS before each text."""
    text, pair = {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}
    return {
        "type": "TemplateProcessing",
        "single": [_special(bos, 0), text],
        "pair": [_special(bos, 0), text, _special(bos, 1), pair],
        "special_tokens": {bos: {"id": bos, "ids": [bos_id], "tokens": [bos]}},
    }


def _special(piece: str, type_id: int) -> dict[str, Any]:
    return {"SpecialToken": {"id": piece, "type_id": type_id}}


def _configuration(tokenizer: SentencePieceTokenizer, chat: ChatTokens) -> bytes:
    """`tokenizer_config.json`.

    The class is the plain one, because transformers 5 discards the normalizer with
    `LlamaTokenizer`. `split_special_tokens` makes "<s>" in a text be encoded as text, as in
    sentencepiece. A chat template writes special tokens into its text, so for a chat model they
    are recognized there.
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


def _remove_chat_templates(directory: Path) -> None:
    """Remove the chat templates of a folder, wherever they are."""
    (directory / TEMPLATE_JSON).unlink(missing_ok=True)
    shutil.rmtree(directory / ADDITIONAL_TEMPLATES, ignore_errors=True)
    config = orjson.loads((directory / CONFIG_JSON).read_bytes())
    if config.pop("chat_template", None) is not None:
        publish(directory / CONFIG_JSON, orjson.dumps(config, option=orjson.OPT_INDENT_2))


def _read_special_tokens(path: Path) -> None:
    """Turn off `split_special_tokens`, so that a chat template's special tokens are recognized."""
    config = orjson.loads(path.read_bytes())
    if config.get("split_special_tokens"):
        config["split_special_tokens"] = False
        publish(path, orjson.dumps(config, option=orjson.OPT_INDENT_2))


@dataclass(frozen=True, slots=True)
class Comparison:
    """Comparison of sentencepiece with a tokenizer.json.

    Attributes:
        num_texts: Number of texts compared.
        num_different: Number of texts on which the ids differ.
        first: The first text that differs.
    """

    num_texts: int
    num_different: int
    first: str | None

    def complaint(self) -> str | None:
        """One sentence on the differences; None if there are none."""
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
