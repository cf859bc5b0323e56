"""A world for tests of training: two corpora, a tokenizer, a small Llama, a recipe; in seconds."""

from __future__ import annotations

import random
from pathlib import Path

import orjson
import sentencepiece

from linly.modeling.load import init_model, save_model
from linly.tokenization.load import load_tokenizer
from linly.tokenization.tokenizer import Tokenizer

ENGLISH = [
    "the",
    "cat",
    "dog",
    "sees",
    "a",
    "big",
    "small",
    "red",
    "house",
    "tree",
    "runs",
    "to",
    "from",
]
CHINESE = list("猫狗看见喜欢大小红房子树跑走到从下上")

RECIPE = """\
curriculum: curriculum.yaml
corpora: [corpora]
data_root: data
run: {run}
model: model
data: {{sequence_length: 32, global_batch: 8, seed: 7, producers: 1, prefetch_rows: 32}}
training: {{lr: 1e-3, warmup: 10%, micro_batch: 2, activation_checkpointing: false}}
checkpoint: {{every: 7, keep_last: 3, keep_every: null}}
evaluation: {{every: 20, max_documents: 10, prompts: ["the cat"], max_new_tokens: 4}}
guards: {{spike: 10, spike_window: 20, max_consecutive_skips: 3}}
"""

CURRICULUM = """\
tokens: {tokens}
mixture:
  english: {{ratio: {{curve: linear, from: 80%, to: 20%}}, sources: {{english: 100%}}}}
  tuned: {{ratio: 20%, sources: {{tuned: 100%}}}}
  chinese: {{ratio: rest, sources: {{chinese: 100%}}}}
"""

CORPORA = {
    "english": "language: en\nkind: text\npaths: ['english/*.jsonl']\nheld_out: 10%\n",
    "chinese": "language: zh\nkind: text\npaths: ['chinese/*.jsonl']\nheld_out: 10%\n",
    "tuned": (
        "language: zh\nkind: instruction\npaths: ['tuned/*.jsonl']\nheld_out: 10%\n"
        "template: linly\n"
    ),
}


def make_tiny_world(folder: Path, *, num_steps: int = 20) -> Path:
    """Write the world; returns its recipe, whose run folder is `FOLDER/runs/tiny`."""
    generator = random.Random(5)
    for name, words, space in (("english", ENGLISH, " "), ("chinese", CHINESE, "")):
        for shard in range(2):
            _write(
                folder / "data" / name / f"{shard}.jsonl",
                [
                    {"text": space.join(generator.choices(words, k=generator.randint(5, 40)))}
                    for _ in range(300)
                ],
            )
    _write(
        folder / "data" / "tuned" / "0.jsonl",
        [
            {
                "instruction": " ".join(generator.choices(ENGLISH, k=4)),
                "output": "".join(generator.choices(CHINESE, k=generator.randint(2, 12))),
            }
            for _ in range(600)
        ],
    )
    (folder / "corpora").mkdir()
    for name, text in CORPORA.items():
        (folder / "corpora" / f"{name}.yaml").write_text(text, encoding="utf-8")
    curriculum = CURRICULUM.format(tokens=num_steps * 8 * 32)
    (folder / "curriculum.yaml").write_text(curriculum, encoding="utf-8")
    tokenizer = train_tokenizer(folder)
    save_model(init_model("nano", tokenizer, seed=1), tokenizer, folder / "model")
    recipe = folder / "recipe.yaml"
    (folder / "runs").mkdir()
    recipe.write_text(RECIPE.format(run=folder / "runs" / "tiny"), encoding="utf-8")
    return recipe


def train_tokenizer(folder: Path) -> Tokenizer:
    """A small sentencepiece BPE with byte fallback, of the kind LLaMA has."""
    text = folder / "tokenizer.txt"
    text.write_text(f"{' '.join(ENGLISH)}\n{' '.join(CHINESE)}\n" * 20, encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(text),
        model_prefix=str(folder / "tokenizer"),
        model_type="bpe",
        vocab_size=360,
        hard_vocab_limit=False,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    return load_tokenizer(folder / "tokenizer.model")


def _write(path: Path, records: list[dict[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(orjson.dumps(record) + b"\n" for record in records))
