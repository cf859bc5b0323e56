"""Vocabularies made by hand or trained in a moment, and texts that tell them apart."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import tokenizers
from sentencepiece import sentencepiece_model_pb2
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from linly.tokenization.byte_level import ByteLevelTokenizer
from linly.tokenization.growth.new_vocabulary import VocabularySpec, train_vocabulary
from linly.tokenization.model_file import BPE, BYTE, CONTROL, NORMAL, UNKNOWN

ENGLISH = [
    f"The {noun} {verb} {count} times under the old bridge, and then it rains."
    for noun in ("river", "mountain", "quick brown fox", "lazy dog", "keeper")
    for verb in ("walks", "sings", "jumps", "is seen")
    for count in ("two", "12", "1,000", "many many")
] + ["def f(x):\n    return x\n\n\n  # done", "a  b   c    d"]

HARD_TEXTS = [
    "",
    " ",
    "   ",
    "\n",
    " \n  \n",
    "a",
    " a",
    "a ",
    "a    <br>",
    "the  river   walks",
    "\tthe\r\nriver",
    "\u2581",
    "the\u2581river \u2581 walks\u2581\u2581 x",
    "<s> </s> <unk> <0x0A>",
    "山 水river山水 river",
    "日月 " * 40,
    "\u3000\u00a0\u200b",
    "a\x00b",
    "x" * 200 + " river",
    "👩\u200d👩\u200d👧 é e\u0301",
]


def english_model(*, size: int = 400) -> bytes:
    """A BPE vocabulary with byte fallback that has seen English only."""
    return train_vocabulary(ENGLISH, VocabularySpec(size, coverage=1.0))


def hand_made(
    pieces: Iterable[tuple[str, float]], *, add_dummy_prefix: bool = True, kind: int = BPE
) -> bytes:
    """A model with the special pieces, all bytes, and the given (piece, score) pairs."""
    model = sentencepiece_model_pb2.ModelProto()
    model.trainer_spec.model_type = kind
    model.trainer_spec.byte_fallback = True
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.add_dummy_prefix = add_dummy_prefix
    model.normalizer_spec.remove_extra_whitespaces = False
    model.pieces.add(piece="<unk>", score=0, type=UNKNOWN)
    model.pieces.add(piece="<s>", score=0, type=CONTROL)
    model.pieces.add(piece="</s>", score=0, type=CONTROL)
    for byte in range(256):
        model.pieces.add(piece=f"<0x{byte:02X}>", score=0, type=BYTE)
    for piece, score in pieces:
        model.pieces.add(piece=piece, score=score, type=NORMAL)
    return bytes(model.SerializeToString())


CHINESE = ["中国人民", "山水之间", "人工智能是计算机科学", "学习中文", "日月山水", "中文的人"]


def byte_level_folder(
    folder: Path,
    texts: Iterable[str] = ENGLISH,
    *,
    size: int = 400,
    words: bool = True,
    nfc: bool = False,
    ignore_merges: bool = False,
) -> Path:
    """A byte-level BPE in the form of Llama 3 and Qwen: added tokens behind the BPE's own ids.

    Args:
        folder: Where to write it.
        texts: To train on.
        size: Pieces, without the added tokens.
        words: Cut text into words, as GPT-2 does; else merges cross every border.
        nfc: Normalize as Qwen does.
        ignore_merges: Look whole words up first, as Llama 3 does.
    """
    made = tokenizers.Tokenizer(models.BPE(ignore_merges=ignore_merges))
    if nfc:
        made.normalizer = normalizers.NFC()
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=words)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(list(texts), trainer)
    made.add_special_tokens(["<|begin|>", "<|end|>"])
    made.add_tokens([tokenizers.AddedToken("<tool>", special=False)])
    folder.mkdir(parents=True, exist_ok=True)
    made.save(str(folder / "tokenizer.json"))
    configuration = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|begin|>",
        "eos_token": {"__type": "AddedToken", "content": "<|end|>"},
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(configuration))
    return folder


def byte_level(folder: Path, texts: Iterable[str] = ENGLISH, **how: int) -> ByteLevelTokenizer:
    """`byte_level_folder`, loaded."""
    return ByteLevelTokenizer.load(byte_level_folder(folder, texts, **how))
