"""A world for tests of training: three corpora, a tokenizer, a small Llama, a recipe; in seconds.

`guarded=True` gives the world of guard tests: its model knows English, and forgets it within a few
steps of Chinese under GUARDED_OVERRIDES.
"""

from __future__ import annotations

import random
from pathlib import Path

import orjson
import torch
from transformers import PreTrainedModel

from linly.modeling.load_model import init_model, save_model
from linly.tokenization.growth.new_vocabulary import VocabularySpec, train_vocabulary
from linly.tokenization.sentence_piece import SentencePieceTokenizer
from linly.tokenization.tokenizer import Tokenizer
from tests.support.worlds import write_records, write_world

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

GUARDED_CURRICULUM = """\
tokens: {tokens}
mixture:
  english:
    ratio:
      {{curve: linear, from: 15%, to: 5%,
       guard: {{source: english, max_rise: 3%, cap: 75%, steps: 2}}}}
    sources: {{english: 100%}}
  tuned: {{ratio: 20%, sources: {{tuned: 100%}}}}
  chinese: {{ratio: rest, sources: {{chinese: 100%}}}}
"""

GUARDED_OVERRIDES = (
    "training.lr=5e-3",
    "training.schedule=constant",
    "training.warmup=0%",
    "training.micro_batch=8",
    "evaluation.every=2",
    "evaluation.prompts=[]",
    "evaluation.tasks=[{name: icl, shots: 2, limit: 12}]",
    "evaluation.tasks_every=4",
)

CORPORA = {
    "english": "language: en\nkind: text\npaths: ['english/*.jsonl']\nheld_out: 10%\n",
    "chinese": "language: zh\nkind: text\npaths: ['chinese/*.jsonl']\nheld_out: 10%\n",
    "tuned": (
        "language: zh\nkind: instruction\npaths: ['tuned/*.jsonl']\nheld_out: 10%\n"
        "template: linly\n"
    ),
}


def make_tiny_world(folder: Path, *, num_steps: int = 20, guarded: bool = False) -> Path:
    """Write the world; returns its recipe, whose run folder is `FOLDER/runs/tiny`."""
    generator = random.Random(5)
    for name, words, space in (("english", ENGLISH, " "), ("chinese", CHINESE, "")):
        for shard in range(2):
            texts = [
                space.join(generator.choices(words, k=generator.randint(5, 40))) for _ in range(300)
            ]
            write_records(
                folder / "data" / name / f"{shard}.jsonl", [{"text": text} for text in texts]
            )
    tasks = [
        {
            "instruction": " ".join(generator.choices(ENGLISH, k=4)),
            "output": "".join(generator.choices(CHINESE, k=generator.randint(2, 12))),
        }
        for _ in range(600)
    ]
    write_records(folder / "data" / "tuned" / "0.jsonl", tasks)
    text = [" ".join(ENGLISH), " ".join(CHINESE)] * 20
    tokenizer = SentencePieceTokenizer(train_vocabulary(text, VocabularySpec(360, coverage=1.0)))
    model = init_model("nano", tokenizer, seed=1)
    if guarded:
        _teach_english(model, tokenizer, folder / "data" / "english")
    save_model(model, tokenizer, folder / "model")
    (folder / "runs").mkdir()
    curriculum = GUARDED_CURRICULUM if guarded else CURRICULUM
    return write_world(
        folder,
        corpora=CORPORA,
        curriculum=curriculum.format(tokens=num_steps * 8 * 32),
        recipe=RECIPE.format(run=folder / "runs" / "tiny"),
    )


def _teach_english(model: PreTrainedModel, tokenizer: Tokenizer, data: Path) -> None:
    """Train a model on all of a corpus, once."""
    lines = [line for shard in sorted(data.iterdir()) for line in shard.read_bytes().splitlines()]
    ids: list[int] = []
    for line in lines:
        text = tokenizer.encode(orjson.loads(line)["text"]).tolist()
        ids += [tokenizer.bos_id, *text, tokenizer.eos_id]
    optimizer = torch.optim.AdamW(model.float().parameters(), lr=1e-2)
    for batch in torch.tensor(ids[: len(ids) // 32 * 32]).view(-1, 32).split(8):
        model(batch, labels=batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
