"""Each family of decoders through the whole method on a tiny model, and the table of the results.

`python -m tests.family_table` tries all of them and writes docs/families.md and the list of
families in linly/modeling/tried_families.py; names after it are tried and printed alone.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
import traceback
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, PreTrainedModel

from linly.config.recipe import load_recipe
from linly.errors import LinlyError
from linly.export.model_export import ExportForm, export_run
from linly.export.run_checkpoints import open_checkpoints
from linly.modeling.embeddings import extend_model
from linly.modeling.load_model import load_model
from linly.runs.runs import RunFolder
from linly.tokenization.growth.extend import extend_vocabulary
from linly.tokenization.sentence_piece import SentencePieceTokenizer
from linly.training.checkpoints.checkpoint_files import read_master_weight
from linly.training.loop.trainer import train
from linly.training.ranks.processes import Processes
from tests.support.llamacpp import read_with_llamacpp
from tests.support.models import FAMILIES, VARIANTS, tiny_model
from tests.support.transformers4 import read_with_transformers4
from tests.support.vocabularies import ENGLISH, english_model
from tests.support.worlds import write_records, write_world

ROOT = Path(__file__).resolve().parents[1]
PAGE, LIST = ROOT / "docs" / "families.md", ROOT / "linly" / "modeling" / "tried_families.py"
BEGIN, END = "<!-- families: begin -->", "<!-- families: end -->"
NAMES = (*FAMILIES, *VARIANTS)
REFERENCE = "reference.safetensors"
NEW_CHARACTERS = "山水亿俺é"
_EQUAL, _EQUAL_IN_LLAMACPP = 1e-4, 1e-3
"""Largest difference of logits, relative to the largest logit, that counts as equal.

llama.cpp looks GELU up in a table of fp16.
"""
_IDS = torch.tensor([[1, 7, 60, 300, 12, 9, 45, 2]])

_RECIPE = """\
run: {run}
model: {model}
data: {{sequence_length: 32, global_batch: 2, seed: 7, producers: 0}}
training: {{lr: 1e-2, warmup: 0%, micro_batch: 2, activation_checkpointing: false}}
checkpoint: {{every: 2}}
evaluation: {{every: 100, prompts: []}}
"""
_CURRICULUM = "tokens: 128\nmixture: {text: {ratio: 100%, sources: {text: 100%}}}\n"
_CORPUS = "language: en\nkind: text\npaths: ['text.jsonl']\npacking: %s\n"


@dataclass(frozen=True)
class Tried:
    """A row of the table.

    Attributes:
        name: Family, or a form of it.
        vocabulary: `yes`, or why the vocabulary cannot grow.
        trains: `yes`, or why not.
        documents: `apart`, where documents of a row do not see each other; else `one a row`.
        transformers_5: `equal`, or how much the export's logits differ from the trained ones.
        transformers_4: The same in transformers 4.57; `fails`, or `-` if it lacks the family.
        gguf: The same in llama.cpp.
    """

    name: str
    vocabulary: str
    trains: str = "-"
    documents: str = "-"
    transformers_5: str = "-"
    transformers_4: str = "-"
    gguf: str = "-"


@patch("linly.tokenization.hugging_face.tokenizer_export.torture_texts", lambda _: ENGLISH)
def try_family(name: str, folder: Path, processes: Processes) -> Tried:
    """Extend, train, export and reload a tiny model; its export and logits stay in `export`.

    The tokenizer is the same for all; its export is compared on a few texts only.

    Args:
        name: Family or variant of the zoo.
        folder: Empty folder.
        processes: This process, as a run of one.
    """
    base = SentencePieceTokenizer(english_model())
    larger = SentencePieceTokenizer(extend_vocabulary(base, list(NEW_CHARACTERS)))
    tiny_model(name).save_pretrained(folder / "base")
    (folder / "base" / "tokenizer.model").write_bytes(base.model_bytes)
    model, vocabulary = folder / "base", "yes"
    try:
        extend_model(folder / "base", larger, folder / "extended")
        model = folder / "extended"
    except LinlyError as error:
        vocabulary = _reason(error)
    documents, why = "-", ""
    for packing, says in (("chunk", "apart"), ("one-document", "one a row")):
        run = folder / f"run-{packing}"
        try:
            _train(folder, run, model, packing, processes)
        except LinlyError as error:
            why = why or _reason(error)
            continue
        documents = says
        break
    if documents == "-":
        return Tried(name, vocabulary, why)
    export_run(run, steps=[], output=folder / "export", form=ExportForm("fp32"))
    plain = AutoModelForCausalLM.from_pretrained(folder / "export", dtype=torch.float32)
    logits, expected = _logits(plain), _logits(_trained(model, run))
    save_file({"ids": _IDS, "logits": expected}, folder / "export" / REFERENCE)
    difference = float((logits - expected).abs().max() / expected.abs().max())
    return Tried(name, vocabulary, "yes", documents, _verdict(difference, _EQUAL))


def with_other_readers(rows: Iterable[Tried], exports: Path) -> list[Tried]:
    """The rows with the columns of transformers 4 and llama.cpp.

    Args:
        rows: Rows of `try_family`.
        exports: Folder with the export of each row, by name; none for a row without one.
    """
    in_4, in_llamacpp = read_with_transformers4(exports), read_with_llamacpp(exports)
    return [
        replace(
            row,
            transformers_4=_cell(in_4.get(row.name), _EQUAL),
            gguf=_cell(in_llamacpp.get(row.name), _EQUAL_IN_LLAMACPP),
        )
        for row in rows
    ]


def _cell(answer: dict[str, Any] | None, equal: float) -> str:
    if answer is None or not answer["known"]:
        return "-"
    return "fails" if "error" in answer else _verdict(answer["difference"], equal)


def _train(folder: Path, run: Path, model: Path, packing: str, processes: Processes) -> None:
    """Two steps of two rows of 32 tokens."""
    world = folder / f"world-{packing}"
    texts = [*ENGLISH, *(f"{NEW_CHARACTERS} {text}" for text in ENGLISH)]
    write_records(world / "data" / "text.jsonl", ({"text": text} for text in texts))
    recipe = write_world(
        world,
        corpora={"text": _CORPUS % packing},
        curriculum=_CURRICULUM,
        recipe=_RECIPE.format(run=run, model=model),
    )
    train(load_recipe(recipe, []), processes, resume_step=None, is_quiet=True)


def _trained(model: Path, run: Path) -> PreTrainedModel:
    """The model folder with the master weights of the run's checkpoint, beside the export's way."""
    (checkpoint,) = open_checkpoints(RunFolder.open(run), [])
    trained = load_model(model, dtype=torch.float32)
    with torch.no_grad():
        for key, parameter in trained.named_parameters():
            file = checkpoint.manifest.parameters.get(key)
            if file is not None:  # else the model's class never trains it
                parameter.data = read_master_weight(checkpoint.folder / file, key)
    return trained.train(False)


def _logits(model: PreTrainedModel) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model(_IDS, use_cache=False).logits.float().contiguous()
    return logits


def _verdict(difference: float, equal: float) -> str:
    if difference <= equal:
        return "equal"
    return f"off by about {float(f'{100 * difference:.1g}'):g}%"


def _reason(error: LinlyError) -> str:
    """An error in a cell: without paths, its first clause."""
    text = re.sub(r"^model \S+: ", "", str(error).splitlines()[0])
    return re.split(r"[;|]|\. ", re.sub(r"/\S+", "", text))[0].strip()


def table(rows: Iterable[Tried]) -> str:
    """The rows as Markdown."""
    lines = [
        "| family | vocabulary grows | trains | documents | transformers 5 | 4.57 | GGUF |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += ["| " + " | ".join(asdict(row).values()) + " |" for row in rows]
    return "\n".join(lines)


def rows_of_page() -> dict[str, Tried]:
    """The rows of docs/families.md by name."""
    _, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    lines = rest.partition(END)[0].strip().splitlines()[2:]
    cells = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return {row[0]: Tried(*row) for row in cells}


def write_page(rows: list[Tried]) -> None:
    """Put the table into docs/families.md, and the families into the package."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n\n{table(rows)}\n\n{END}{after}", encoding="utf-8")
    passed = [row for row in rows if row.name in FAMILIES and row.trains == "yes"]
    families = "".join(f'        "{row.name}",\n' for row in passed)
    text = LIST.read_text(encoding="utf-8")
    text = re.sub(r"(    \{\n).*(    \}\n\))", rf"\1{families}\2", text, flags=re.S)
    LIST.write_text(text, encoding="utf-8")


def start_alone() -> Processes:
    """This process as a run of one, with DeepSpeed's process group."""
    import deepspeed

    from linly.training.engine.engine import _no_helper_builds
    from linly.training.ranks.processes import start_processes

    processes = start_processes()
    _no_helper_builds()
    deepspeed.init_distributed()
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        os.environ.pop(name, None)
    return processes


def main(names: list[str]) -> None:
    """Try families, print each row, and write the page when all were tried."""
    processes = start_alone()
    rows = []
    with tempfile.TemporaryDirectory() as place:
        exports = Path(place)
        for name in names or NAMES:
            with tempfile.TemporaryDirectory() as folder:
                try:
                    rows.append(try_family(name, Path(folder), processes))
                    keep_export(Path(folder), exports / name)
                except Exception as error:
                    rows.append(Tried(name, "-", f"fails with {type(error).__name__}"))
                    traceback.print_exc()
            print(json.dumps(asdict(rows[-1])), flush=True)
        rows = with_other_readers(rows, exports)
    print(table(rows))
    if not names:
        write_page(rows)


def keep_export(folder: Path, place: Path) -> None:
    """Move the export that `try_family` left in a folder, if there is one."""
    if (folder / "export").is_dir():
        shutil.move(folder / "export", place)


if __name__ == "__main__":
    main(sys.argv[1:])
