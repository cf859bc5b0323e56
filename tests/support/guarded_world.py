"""A tiny world whose model knows English and forgets it while it learns Chinese; in seconds."""

from __future__ import annotations

from pathlib import Path

import orjson
import torch

from linly.modeling.load import load_model, save_model
from linly.tokenization.load import load_tokenizer
from linly.tokenization.tokenizer import Tokenizer
from tests.support.tiny_world import make_tiny_world

NUM_STEPS = 16

CURRICULUM = f"""\
tokens: {NUM_STEPS * 8 * 32}
mixture:
  english:
    ratio:
      {{curve: linear, from: 15%, to: 5%,
       guard: {{source: english, max_rise: 3%, cap: 75%, steps: 2}}}}
    sources: {{english: 100%}}
  tuned: {{ratio: 20%, sources: {{tuned: 100%}}}}
  chinese: {{ratio: rest, sources: {{chinese: 100%}}}}
"""

OVERRIDES = (
    "training.lr=5e-3",
    "training.schedule=constant",
    "training.warmup=0%",
    "training.micro_batch=8",
    "evaluation.every=2",
    "evaluation.prompts=[]",
)
"""With which English is forgotten within a few steps."""


def make_guarded_world(folder: Path) -> Path:
    """Write the world; returns its recipe, to be used with OVERRIDES."""
    recipe = make_tiny_world(folder, num_steps=NUM_STEPS)
    (folder / "curriculum.yaml").write_text(CURRICULUM, encoding="utf-8")
    tokenizer = load_tokenizer(folder / "model")
    torch.manual_seed(0)
    model = load_model(folder / "model").float()
    lines = [
        line
        for shard in sorted((folder / "data" / "english").iterdir())
        for line in shard.read_bytes().splitlines()
    ]
    ids = [i for line in lines for i in _document(tokenizer, orjson.loads(line)["text"])]
    rows = torch.tensor(ids[: len(ids) // 32 * 32]).view(-1, 32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for batch in rows.split(8):
        model(batch, labels=batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    save_model(model, tokenizer, folder / "model")
    return recipe


def _document(tokenizer: Tokenizer, text: str) -> list[int]:
    return [tokenizer.bos_id, *tokenizer.encode(text).tolist(), tokenizer.eos_id]
