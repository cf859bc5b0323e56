"""What a run fixes at its start, so that files added later change nothing.

runs/NAME/
  recipe.yaml, curriculum.yaml   as resolved
  shards/SOURCE.jsonl            the shards of each source, with their sizes
  held_out/SOURCE.jsonl          the documents that evaluations use
  model/                         configuration and tokenizer of the model
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Collection, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from linly.config.recipe import Recipe
from linly.config.settings import Trainable
from linly.curriculum.decisions import Course, Relisted
from linly.curriculum.plan import Available, Batch, check_plan, make_plan
from linly.data.inspection.source_inventory import SourceInventory, source_inventory
from linly.data.reading.shards import list_shards
from linly.data.types import Document, Segment, Shard, ShardList
from linly.errors import CheckpointError, LinlyError
from linly.files import inside, publish, publish_text, sha256_file
from linly.modeling.stored.configuration import read_configuration
from linly.modeling.stored.stored_model import StoredModel
from linly.modeling.stored.weight_files import hash_weights, read_json_object, write_json_object
from linly.modeling.trainable import trains_all
from linly.runs.runs import RunFolder
from linly.tokenization.byte_level import TOKENIZER_JSON, companions
from linly.tokenization.load import load_tokenizer
from linly.tokenization.tokenizer import Tokenizer
from linly.training.ranks.processes import Processes

MODEL_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer.model",
    "added_tokens.json",
    TOKENIZER_JSON,
)
"""Files of a model folder that a run keeps, besides those that `companions` finds."""


def freeze(
    run: RunFolder, recipe: Recipe, model: StoredModel, tokenizer: Tokenizer, processes: Processes
) -> None:
    """Write everything a run fixes; sources are dealt over the ranks, as some take long to scan.

    The configuration is the model folder's as its files decide it, so that an export has what was
    trained.

    Raises:
        ConfigError: The curriculum reads a source more often than its `max_epochs`.
        DataError: A source has no shards, one cannot be read, or the records are not as its
            corpus file says.
    """
    with processes.together("preparing the run folder"):
        if processes.is_first:
            for name in ("shards", "held_out", "model"):
                shutil.rmtree(run.path / name, ignore_errors=True)
                (run.path / name).mkdir()
            write_recipe(run, recipe)
            for name in (*MODEL_FILES, *companions(model.path)):
                if (model.path / name).is_file():
                    (run.path / "model" / name).parent.mkdir(exist_ok=True)
                    shutil.copyfile(model.path / name, run.path / "model" / name)
            _write_decided(model, run.path / "model" / "config.json")
    with processes.together("listing shards and held-out documents"):
        mine = {}
        for source in sorted(recipe.curriculum.sources)[processes.rank :: processes.world_size]:
            found = source_inventory(
                recipe, source, tokenizer, max_held_out=recipe.evaluation.max_documents
            )
            write_source(run, source, found)
            mine[source] = asdict(found.available)
    _check_plan(recipe, [entry for part in processes.gather_json(mine) for entry in part.items()])


def _write_decided(model: StoredModel, path: Path) -> None:
    """Write into the run's config.json what was decided against the model's own."""
    content = read_json_object(path)
    decided: dict[str, Any] = {"tie_word_embeddings": False} if model.is_untied else {}
    if content.get("pad_token_id") is not None and model.config.pad_token_id is None:
        decided["pad_token_id"] = None
    if decided:
        write_json_object(path, content | decided)


def _check_plan(recipe: Recipe, found: Iterable[tuple[str, dict[str, Any]]]) -> None:
    """Refuse a run that would run out of a source, before its first step."""
    plan = make_plan(
        recipe.curriculum,
        sequence_length=recipe.data.sequence_length,
        batch=Batch(recipe.data.global_batch, recipe.training.micro_batch),
        available={source: Available(**values) for source, values in found},
    )
    check_plan(plan, recipe.curriculum)


def write_recipe(run: RunFolder, recipe: Recipe) -> None:
    """Write the recipe and curriculum as resolved."""
    run.check_lock()
    publish_text(run.path / "recipe.yaml", recipe.to_yaml())
    publish_text(run.path / "curriculum.yaml", recipe.curriculum.to_yaml())


def write_source(run: RunFolder, source: str, found: SourceInventory) -> None:
    """Fix what was found of a source."""
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


def shard_lines(shards: Iterable[Shard]) -> bytes:
    """A list of shards as a file of the run holds it."""
    return b"".join(orjson.dumps(asdict(shard)) + b"\n" for shard in shards)


def read_shards(run: RunFolder, sources: Iterable[str]) -> dict[str, tuple[Shard, ...]]:
    """The frozen shard list of each of these sources."""
    return {
        source: _parse_shards(_read_lines(run.path / "shards" / f"{source}.jsonl"))
        for source in sorted(sources)
    }


def read_later_lists(run: RunFolder, course: Course) -> dict[str, tuple[ShardList, ...]]:
    """The lists that were made of sources' shards during the run.

    Raises:
        CheckpointError: One is not what the decision log says.
    """
    return {
        source: tuple(_read_later_list(run, source, relisted) for relisted in lists)
        for source, lists in sorted(course.relisted.items())
    }


def newest_lists(
    run: RunFolder, course: Course, sources: Collection[str]
) -> dict[str, tuple[Shard, ...]]:
    """The list of shards of each of these sources that was made last."""
    later = read_later_lists(run, course)
    first = read_shards(run, (source for source in sources if source not in later))
    return first | {name: later[name][-1].shards for name in sources if name in later}


def unlisted_shards(run: RunFolder, recipe: Recipe, course: Course) -> list[str]:
    """A warning for each source that more shards match than the run has listed.

    What is missing from a list is no business of this: the stream stops where it needs it.
    """
    found = []
    for source, known in newest_lists(run, course, sorted(recipe.curriculum.sources)).items():
        corpus = recipe.corpora[recipe.curriculum.sources[source][1].corpus]
        try:
            listed = list_shards(corpus, recipe.data_root)
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
    shards = _parse_shards(_read_lines(path))
    if sha256_file(path) != relisted.sha256:
        raise CheckpointError(
            f"{path}: not the list of shards of source {source!r} that the run took up: its "
            f"sha256 is not {relisted.sha256}, as in decisions.jsonl; bring the file back from a "
            "copy"
        )
    return ShardList(relisted.from_epoch, shards)


def _parse_shards(lines: Iterable[dict[str, Any]]) -> tuple[Shard, ...]:
    return tuple(Shard(**line) for line in lines)


def read_held_out(run: RunFolder, recipe: Recipe) -> dict[str, list[Document]]:
    """The frozen held-out documents of each source."""
    return {
        source: [
            Document(
                line["shard"],
                line["record"],
                tuple(Segment(*segment) for segment in line["segments"]),
            )
            for line in _read_lines(run.path / "held_out" / f"{source}.jsonl")
        ]
        for source in sorted(recipe.curriculum.sources)
    }


def model_identity(folder: Path, trainable: Trainable) -> dict[str, str]:
    """What must not change in a run's model: configuration, tokenizer, and what stays frozen.

    Weights that train are in the checkpoints. Where others are frozen, the files that they come
    from are told by their hashes, each by its name.
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
            f"{path}: what the run fixed at its start cannot be read: {error}; bring the file "
            "back from a copy, or start another run with run=PATH"
        ) from error
