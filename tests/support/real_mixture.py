"""A mixture of real text, 60% English and 40% Chinese, as a plan of rows and as bare documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import orjson
import zstandard
from numpy.typing import NDArray

from linly.data.mixing.mixer import Mixer
from linly.data.mixing.state import MixerState
from linly.data.mixing.stream_plan import StreamPlan
from linly.tokenization.growth.characters import (
    DEFAULT_STANDARDS,
    choose_characters,
    standard_characters,
)
from linly.tokenization.growth.extend import extend_vocabulary
from linly.tokenization.sentence_piece import SentencePieceTokenizer
from linly.tokenization.tokenizer import Tokenizer

REPOSITORY = Path(__file__).resolve().parents[2]
SEQUENCE_LENGTH = 2048
NUM_NEW_PIECES = 8076

# Within a language about what each source has of the real text: 4,000 rows repeat next to nothing.
ENGLISH = {"real-slimpajama": 33, "real-refinedweb": 27}
CHINESE = {
    "real-qa": 8,
    "real-literature": 8,
    "real-wiki": 7,
    "real-webtext": 6,
    "real-news": 5,
    "real-laws": 3,
    "real-csl": 2,
    "real-txt": 1,
}
MIXTURE: dict[str, float] = {**ENGLISH, **CHINESE}
"""Source -> share of all rows, in percent."""


def extend_llama(llama: Path, folder: Path) -> Path:
    """LLaMA's vocabulary and the characters of the published one: 40,076 pieces."""
    base = SentencePieceTokenizer.load(llama)
    characters = choose_characters(
        standard_characters(DEFAULT_STANDARDS), base.pieces(), count=NUM_NEW_PIECES
    )
    path = folder / "tokenizer.model"
    path.write_bytes(extend_vocabulary(base, characters))
    return path


def write_recipe(
    folder: Path,
    shares: Mapping[str, float],
    *,
    num_rows: int,
    data_root: Path,
    corpora: Path = REPOSITORY / "tests/real/corpora",
    sequence_length: int = SEQUENCE_LENGTH,
) -> Path:
    """Write a recipe of constant shares (percent, together 100)."""
    sources = {name: {"share": f"{share}%", "max_epochs": 1000} for name, share in shares.items()}
    recipe = {
        "curriculum": {
            "tokens": num_rows * sequence_length,
            "mixture": {"all": {"ratio": "100%", "sources": sources}},
        },
        "corpora": [str(corpora)],
        "data_root": str(data_root),
        "run": str(folder / "run"),
        "data": {"sequence_length": sequence_length, "global_batch": 1},
        "training": {"micro_batch": 1},
    }
    path = folder / "recipe.yaml"
    path.write_bytes(orjson.dumps(recipe))
    return path


def make_rows(
    plan: StreamPlan, tokenizer: Tokenizer, num_rows: int, state: MixerState | None = None
) -> MixerState:
    """Make rows in this process and consume them, as training does; gives the state behind."""
    state = state.copy() if state is not None else plan.new_state()
    end = state.row + num_rows
    mixer = Mixer(phases=plan.phases, sources=plan.sources, tokenizer=tokenizer, state=state)
    for mixed in islice(mixer, num_rows):
        state.advance(mixed)
    assert state.row == end
    return state


def texts_of(plan: StreamPlan, tokenizer: Tokenizer, num_rows: int) -> list[str]:
    """The texts that the first rows are made of, segment by segment, in order."""
    recorder = _Recorder(tokenizer.model_bytes)
    make_rows(plan, recorder, num_rows)
    return recorder.texts


def write_shards(folder: Path, texts: Sequence[str], num_shards: int) -> None:
    """Deal texts to JSON line shards, round and round."""
    folder.mkdir(parents=True)
    for number in range(num_shards):
        lines = [orjson.dumps({"text": text}) + b"\n" for text in texts[number::num_shards]]
        path = folder / f"shard-{number:05d}.jsonl.zst"
        path.write_bytes(zstandard.compress(b"".join(lines), 1))


def write_corpus(corpora: Path, name: str, pattern: str) -> None:
    """Write the corpus file of what `write_shards` wrote."""
    corpora.mkdir(parents=True, exist_ok=True)
    form = {"language": "en", "kind": "text", "paths": [pattern], "fields": {"text": "text"}}
    (corpora / f"{name}.yaml").write_bytes(orjson.dumps(form))


class _Recorder(SentencePieceTokenizer):
    """Keeps the texts it is given."""

    def __init__(self, model_bytes: bytes) -> None:
        super().__init__(model_bytes)
        self.texts: list[str] = []

    def encode_batch(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        self.texts += texts
        return super().encode_batch(texts)
