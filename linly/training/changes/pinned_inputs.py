"""Inputs that a run pins at its first start, so that files added later change nothing.

runs/NAME/
  recipe.yaml, curriculum.yaml   recipe and curriculum, resolved
  shards/SOURCE.jsonl            shards of each source, with their sizes
  held_out/SOURCE.jsonl          documents for evaluation
  model/                         configuration and tokenizer of the model
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson

from linly.config.recipe import Recipe
from linly.config.sections.trainable_setting import Trainable
from linly.curriculum.timeline import Relisted, Timeline
from linly.data.inspection.source_inventory import SourceInventory
from linly.data.reading.shards import list_shards
from linly.data.shard_list import read_shard_list, shard_lines
from linly.data.types import Document, Segment, Shard, ShardList
from linly.errors import CheckpointError, LinlyError
from linly.files import inside, publish, publish_text, sha256_file
from linly.modeling.stored.configuration import read_configuration
from linly.modeling.stored.stored_model import StoredModel
from linly.modeling.stored.weight_files import hash_weights, read_json_object, write_json_object
from linly.modeling.trainable import trains_all
from linly.runs.runs import PINNED, RunFolder
from linly.tokenization.byte_level import TOKENIZER_JSON, companions
from linly.tokenization.load_tokenizer import load_tokenizer
from linly.training.ranks.processes import Processes

MODEL_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer.model",
    "added_tokens.json",
    TOKENIZER_JSON,
)
"""Model files that a run copies, in addition to those found by `companions`."""


def pin_inputs(
    run: RunFolder,
    recipe: Recipe,
    model: StoredModel,
    inventories: Mapping[str, SourceInventory],
    processes: Processes,
) -> None:
    """Write the pinned inputs; a collective.

    The model configuration is written as it is used in training, so that an export matches it.

    Args:
        run: Locked folder of the run.
        recipe: Recipe of the run.
        model: Its model.
        inventories: Sources that this rank has inspected.
        processes: Processes of the run.
    """
    with processes.together("preparing the run folder"):
        if processes.is_first:
            for name in PINNED:
                shutil.rmtree(run.path / name, ignore_errors=True)
                (run.path / name).mkdir()
            write_recipe(run, recipe)
            for name in (*MODEL_FILES, *companions(model.path)):
                if (model.path / name).is_file():
                    (run.path / "model" / name).parent.mkdir(exist_ok=True)
                    shutil.copyfile(model.path / name, run.path / "model" / name)
            _write_decided(model, run.path / "model" / "config.json")
    with processes.together("writing shard lists and held-out documents"):
        for name, found in inventories.items():
            write_source(run, name, found)


def _write_decided(model: StoredModel, path: Path) -> None:
    """Update the run's config.json where training differs from the model's own."""
    content = read_json_object(path)
    decided: dict[str, Any] = {"tie_word_embeddings": False} if model.is_untied else {}
    if content.get("pad_token_id") is not None and model.config.pad_token_id is None:
        decided["pad_token_id"] = None
    if decided:
        write_json_object(path, content | decided)


def write_recipe(run: RunFolder, recipe: Recipe) -> None:
    """Write the resolved recipe and curriculum."""
    run.check_lock()
    publish_text(run.path / "recipe.yaml", recipe.to_yaml())
    publish_text(run.path / "curriculum.yaml", recipe.curriculum.to_yaml())


def write_source(run: RunFolder, source: str, found: SourceInventory) -> None:
    """Pin the shards and held-out documents of a source."""
    run.check_lock()
    publish(run.path / "shards" / f"{source}.jsonl", shard_lines(found.shards))
    _write_lines(
        run.path / "held_out" / f"{source}.jsonl",
        (
            {
                "shard": document.shard,
                "record": document.record,
                "segments": [[s.text, s.supervised, s.form] for s in document.segments],
            }
            for document in found.held_out
        ),
    )


def read_shards(run: RunFolder, sources: Iterable[str]) -> dict[str, tuple[Shard, ...]]:
    """The shard list of each source, as pinned at its start."""
    return {
        source: read_shard_list(run.path / "shards" / f"{source}.jsonl")
        for source in sorted(sources)
    }


def read_later_lists(run: RunFolder, timeline: Timeline) -> dict[str, tuple[ShardList, ...]]:
    """The shard lists added to sources during the run.

    Raises:
        CheckpointError: If one does not match the decision log.
    """
    return {
        source: tuple(_read_later_list(run, source, relisted) for relisted in lists)
        for source, lists in sorted(timeline.relisted.items())
    }


def newest_lists(
    run: RunFolder, timeline: Timeline, sources: Collection[str]
) -> dict[str, tuple[Shard, ...]]:
    """The newest shard list of each source."""
    later = read_later_lists(run, timeline)
    first = read_shards(run, (source for source in sources if source not in later))
    return first | {name: later[name][-1].shards for name in sources if name in later}


def unlisted_shards(run: RunFolder, recipe: Recipe, timeline: Timeline) -> list[str]:
    """A warning for each source with matching shards that the run has not listed.

    Missing shards are not reported here: the stream stops when it needs one.
    """
    found = []
    sources = recipe.sources
    for source, known in newest_lists(run, timeline, sources).items():
        try:
            listed = list_shards(sources[source].corpus, recipe.data_root)
        except LinlyError:
            continue
        num_new = len({shard.path for shard in listed} - {shard.path for shard in known})
        if num_new:
            found.append(
                f"source {source}: {num_new:,} new shards match its corpus file, ignored until "
                f"`linly amend {run.path} --relist {source}`"
            )
    return found


def _read_later_list(run: RunFolder, source: str, relisted: Relisted) -> ShardList:
    path = inside(run.path / "shards", relisted.file)
    shards = read_shard_list(path)
    if sha256_file(path) != relisted.sha256:
        raise CheckpointError(
            f"{path}: is not the shard list of source {source!r} that the run recorded: its "
            f"sha256 is not {relisted.sha256}, as in decisions.jsonl; restore the file from a "
            "backup"
        )
    return ShardList(relisted.from_epoch, shards)


def read_held_out(run: RunFolder, sources: Iterable[str]) -> dict[str, list[Document]]:
    """The held-out documents of each source, as pinned at its start."""
    return {
        source: [
            Document(
                line["shard"],
                line["record"],
                tuple(Segment(*segment) for segment in line["segments"]),
            )
            for line in _read_lines(run.path / "held_out" / f"{source}.jsonl")
        ]
        for source in sorted(sources)
    }


def model_identity(folder: Path, trainable: Trainable) -> dict[str, str]:
    """Hashes of what must not change in a model: configuration, tokenizer, frozen weights.

    Trained weights are in the checkpoints. If any weights are frozen, the hash of every weight file
    is included by name.
    """
    identity = {
        "config": hashlib.sha256((folder / "config.json").read_bytes()).hexdigest(),
        "tokenizer": load_tokenizer(folder).fingerprint,
    }
    if trains_all(read_configuration(folder), trainable):
        return identity
    return identity | hash_weights(folder)


def _write_lines(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    publish(path, b"".join(orjson.dumps(line) + b"\n" for line in lines))


def _read_lines(path: Path) -> list[dict[str, Any]]:
    try:
        return [orjson.loads(line) for line in path.read_bytes().splitlines()]
    except (OSError, orjson.JSONDecodeError) as error:
        raise CheckpointError(
            f"{path}: this pinned input of the run cannot be read: {error}; restore the file "
            "from a backup, or start another run with run=PATH"
        ) from error
