"""Tiny corpora of all kinds on disk, with the faults that real ones have."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import sentencepiece
import zstandard

from linly.config.corpus import Corpus, corpus_files, load_corpus
from linly.config.recipe import load_recipe
from linly.config.source import Source
from linly.data.mixing.blocks import BlockLimits
from linly.data.mixing.stream_plan import StreamPlan
from tests.support.worlds import plan_of, write_world

SOURCES = ("handful", "pairs", "tasks", "texts")
TEXT_SHARD_SIZES = (30, 7, 1, 55, 12)
NUM_BAD_TEXTS = sum(1 for index in range(sum(TEXT_SHARD_SIZES)) if index % 10 == 3)
SMALL_BLOCKS = BlockLimits(num_records=16, size_bytes=1 << 20, interleave=3)

_WORDS = ("the", "river", "mountain", "light", "walks", "slowly", "under", "old", "bridge", "rain")
_CHARACTERS = "山水日月风云雨雪花草木石天地人江河海春夏秋冬"

_CORPORA = {
    "texts": """
        language: en
        kind: text
        paths: ["texts/*.jsonl", "texts/*.jsonl.zst"]
        where: [{field: keep, equal: true}]
        max_bad_fraction: 50%
        """,
    "pairs": """
        kind: parallel
        paths: ["pairs/*.jsonl"]
        fields: {zh: zh, en: en}
        """,
    "tasks": """
        language: en
        kind: instruction
        paths: ["tasks/*.json"]
        max_bad_fraction: 50%
        """,
    "handful": """
        language: zh
        kind: text
        paths: ["handful/*.txt"]
        """,
}

_CURRICULUM = """
    tokens: 12800
    mixture:
      english:
        ratio: {curve: linear, from: 70%, to: 20%}
        sources: {texts: {share: 100%, max_epochs: 100}}
      parallel:
        ratio: {curve: cosine, from: 10%, to: 20%}
        sources: {pairs: {share: 100%, max_epochs: 100}}
      others:
        ratio: rest
        sources:
          tasks: {share: 80%, max_epochs: 100}
          handful: {share: 20%, max_epochs: 1000}
    """

_RECIPE = """
    run: runs/tiny
    data: {sequence_length: 64, global_batch: 12, producers: 0, timeout_s: 30}
    training: {micro_batch: 1}
    """


def write_corpora(folder: Path) -> Path:
    """Write data, corpus files, a curriculum and a recipe without model; gives the recipe."""
    draw = random.Random(7)
    _write_texts(folder / "data" / "texts", draw)
    pairs = [{"zh": _chinese(draw, 12), "en": _english(draw, 9)} for _ in range(40)]
    _write(folder / "data/pairs/pairs.jsonl", "".join(json.dumps(p) + "\n" for p in pairs))
    tasks: list[object] = [
        {"instruction": _english(draw, 3), "output": _english(draw, draw.randint(2, 30))}
        for _ in range(37)
    ]
    tasks[5] = {"instruction": "no output here"}
    tasks[11] = {"instruction": "long", "output": _english(draw, 300)}
    tasks[36] = "not an object"
    _write(folder / "data/tasks/tasks.json", json.dumps(tasks))
    _write(folder / "data/handful/handful.txt", "山水\n日月风\n春江花月夜\n")
    return write_world(folder, corpora=_CORPORA, curriculum=_CURRICULUM, recipe=_RECIPE)


def source_of(
    corpus: Corpus, data_root: Path = Path(), *, name: str = "source", template: str | None = None
) -> Source:
    """A corpus as the source `name`."""
    return Source(name, corpus, template, data_root)


def load_plan(recipe_path: Path, tokenizer_path: Path, *overrides: str) -> StreamPlan:
    """The plan of a written recipe, with blocks small enough to have many."""
    plan = plan_of(load_recipe(recipe_path, overrides), tokenizer_path)
    return replace(
        plan, sources=tuple(replace(source, limits=SMALL_BLOCKS) for source in plan.sources)
    )


def train_tokenizer(folder: Path) -> Path:
    """A small sentencepiece model with byte fallback; the frozen order of rows depends on it."""
    draw = random.Random(1)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([_english(draw, 12) for _ in range(500)]),
        model_prefix=str(folder / "tokenizer"),
        model_type="bpe",
        vocab_size=330,
        byte_fallback=True,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return folder / "tokenizer.model"


def _write_texts(folder: Path, draw: random.Random) -> None:
    """Shards of uneven length; every tenth record is bad and every tenth is filtered."""
    index = 0
    for shard, size in enumerate(TEXT_SHARD_SIZES):
        lines = []
        for _ in range(size):
            text = f"{index} {_english(draw, draw.randint(1, 60))}"
            record = json.dumps({"text": text, "keep": index % 10 != 7})
            lines.append(("{broken" if index % 10 == 3 else record) + "\n")
            index += 1
        data = "".join(lines)
        if shard % 2:
            path = folder / f"shard-{shard}.jsonl.zst"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(zstandard.compress(data.encode()))
        else:
            _write(folder / f"shard-{shard}.jsonl", data)


def _english(draw: random.Random, num_words: int) -> str:
    return " ".join(draw.choice(_WORDS) for _ in range(num_words))


def _chinese(draw: random.Random, num_characters: int) -> str:
    return "".join(draw.choice(_CHARACTERS) for _ in range(num_characters))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def load_corpora(folder: Path) -> dict[str, Corpus]:
    """All corpora of a folder by name."""
    return {name: load_corpus(name, [folder]) for name in corpus_files([folder])}
