"""Run by the interpreter of .venv-transformers4: how transformers 4 reads exported folders.

One JSON line for each subfolder of the given folder. A model's folder has `reference.safetensors`
(ids and logits), a tokenizer's has `texts.json`.
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.utils.logging import disable_progress_bar

REFERENCE = "reference.safetensors"


def read_model(folder: Path) -> dict[str, object]:
    family = json.loads((folder / "config.json").read_text())["model_type"]
    if family not in CONFIG_MAPPING:
        return {"known": False}
    reference = load_file(folder / REFERENCE)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        logits = model(reference["ids"], use_cache=False).logits
    difference = (logits - reference["logits"]).abs().max() / reference["logits"].abs().max()
    return {"known": True, "difference": float(difference)}


def read_tokenizer(folder: Path) -> dict[str, object]:
    loaded = AutoTokenizer.from_pretrained(folder)
    loaded.backend_tokenizer.encode_special_tokens = True
    texts = json.loads((folder / "texts.json").read_text())
    return {"ids": [loaded.encode(text, add_special_tokens=False) for text in texts]}


def main() -> None:
    assert transformers.__version__.startswith("4."), transformers.__version__
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    disable_progress_bar()
    for folder in sorted(Path(sys.argv[1]).iterdir()):
        try:
            read = read_model if (folder / REFERENCE).exists() else read_tokenizer
            found = read(folder)
        except Exception as error:
            found = {"known": True, "error": f"{type(error).__name__}: {error}"[:300]}
        print(json.dumps({"name": folder.name, **found}), flush=True)


main()
