"""Amendment of a run: a new curriculum from its newest complete checkpoint; the past is unchanged.

    newest checkpoint, decision log -> `plan_amendment` -> Amendment, to show
                                    -> `write_amendment` -> a line of decisions.jsonl

Each cursor belongs to a source name. A kept source continues at its cursor. A removed source keeps
its cursor, in case it is added back. The shards and held-out documents of a new source are pinned
as at the start of a run. New shards of a source are used once they are listed again, from its next
epoch; an epoch that has begun keeps its list.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import count
from pathlib import Path
from typing import Any

from linly.config.corpus import (
    Corpus,
    corpus_files,
    make_corpus,
    with_chat,
    with_packing,
    with_pinned_lists,
)
from linly.config.curriculum import Curriculum
from linly.config.recipe import Recipe
from linly.config.yaml.strict_model import unknown
from linly.config.yaml.yaml import read_yaml
from linly.curriculum.learning_rate import LearningRate
from linly.curriculum.timeline import Timeline, curriculum_form
from linly.curriculum.wording import amount
from linly.data.inspection.estimate import estimate_tokens
from linly.data.inspection.source_inventory import SourceInventory, source_inventory
from linly.data.reading.shards import list_shards
from linly.data.shard_list import shard_lines
from linly.data.types import Shard
from linly.errors import ConfigError, DataError
from linly.files import publish
from linly.runs.runs import RunFolder
from linly.tokenization.load_tokenizer import load_tokenizer
from linly.tokenization.tokenizer import Tokenizer
from linly.training.changes.annealing import check_schedule
from linly.training.changes.forecast import SourceForecast, source_forecasts
from linly.training.changes.pinned_inputs import (
    newest_lists,
    write_recipe,
    write_source,
)
from linly.training.changes.resume import differences
from linly.training.changes.run_at_checkpoint import RunAtCheckpoint, run_at_checkpoint


@dataclass(frozen=True, slots=True)
class NewList:
    """A new shard list of a source.

    Attributes:
        from_epoch: First epoch of the source that uses the list, from 0.
        added: Paths that are not in the previous list.
        gone: Paths of the previous list that are missing now, or whose size has changed.
    """

    shards: tuple[Shard, ...]
    from_epoch: int
    added: tuple[str, ...]
    gone: tuple[str, ...]
    file: str


@dataclass(frozen=True, slots=True)
class Amendment:
    """A planned amendment, not written yet.

    Attributes:
        after: Timeline with the amendment.
        line: Record for decisions.jsonl, without its time.
        forecasts: Source -> (before, after); None if that curriculum does not have the source.
        inventories: Inventories of the new sources.
        lists: New shard lists by source.
        num_steps: Steps of the run, before and after.
        lr: Learning rate of the next step, before and after.
    """

    at: RunAtCheckpoint
    after: Timeline
    recipe: Recipe
    line: dict[str, Any]
    forecasts: dict[str, tuple[SourceForecast | None, SourceForecast | None]]
    inventories: dict[str, SourceInventory]
    lists: dict[str, NewList]
    num_steps: tuple[int, int]
    lr: tuple[float, float]


def plan_amendment(
    run: RunFolder,
    curriculum: Curriculum | None,
    *,
    relist: Collection[str] = (),
    drop: Collection[str] = (),
) -> Amendment:
    """Compute an amendment and its effect; nothing is written.

    Args:
        run: Run to amend, at its newest complete checkpoint.
        curriculum: Curriculum to use from now on; None keeps the current one.
        relist: Sources whose shards are listed again.
        drop: Sources to remove; their shares go to the rest of their groups.

    Raises:
        ConfigError: If it would change the past or nothing, or needs more than a source has.
        DataError: If a source's shards cannot be found or read.
        CheckpointError: If there is no complete checkpoint to continue from.
    """
    at = run_at_checkpoint(run)
    wanted = curriculum or at.timeline.curriculum
    for source in drop:
        wanted = without_source(wanted, source)
    for source in relist:
        if source not in wanted.sources or source not in at.timeline.sources:
            known = sorted(wanted.sources.keys() & at.timeline.sources.keys())
            raise ConfigError(f"--relist: {unknown('source', source, known)}")
    if not relist and not differences(_rows_of(at.timeline.curriculum), _rows_of(wanted)):
        raise ConfigError(
            f"curriculum {wanted.name}: the future rows already follow it, so nothing needs "
            "amending; choose a different curriculum"
        )
    _check_past(at, wanted)
    recipe = _recipe(run, at, wanted, relist)
    check_schedule(recipe)
    lists = {source: _list_again(run, at, recipe, source) for source in sorted(relist)}
    line = _decision(at, wanted, recipe, lists)
    after = at.timeline.with_decision(line)
    tokenizer = load_tokenizer(run.path / "model")
    inventories = _new_inventories(at, recipe, tokenizer)
    _check_guards(wanted, at)
    return Amendment(
        at,
        after,
        recipe,
        line,
        source_forecasts(at, after, _capacities(run, at, recipe, inventories, lists, tokenizer)),
        inventories,
        lists,
        (at.recipe.num_steps, recipe.num_steps),
        (_next_lr(at, at.recipe), _next_lr(at, recipe)),
    )


def write_amendment(run: RunFolder, amendment: Amendment) -> None:
    """Write an amendment; call it while holding the run's lock.

    The decisions.jsonl line is written after the files that it refers to, and puts them in force.
    """
    for source, found in amendment.inventories.items():
        write_source(run, source, found)
    for new in amendment.lists.values():
        publish(run.path / "shards" / new.file, shard_lines(new.shards))
    run.append_decision(amendment.line)
    text = f"amended from step {amendment.at.step} on: " + "; ".join(changes(amendment))
    run.append_event(amendment.at.step, "amend", text)
    run.fsync()
    run.close()
    write_recipe(run, amendment.recipe)


def changes(amendment: Amendment) -> list[str]:
    """Changes of an amendment: curriculum settings and shard lists, one per line."""
    before, after = amendment.at.timeline.curriculum, amendment.after.curriculum
    found = [str(change) for change in differences(_rows_of(before), _rows_of(after))]
    for source, new in amendment.lists.items():
        found.append(
            f"{source}: {len(new.added)} new shards, {len(new.gone)} gone, from its epoch "
            f"{new.from_epoch + 1} on"
        )
    return found


def without_source(curriculum: Curriculum, source: str) -> Curriculum:
    """A curriculum without a source, its share redistributed in proportion within its group.

    Raises:
        ConfigError: If there is no such source, the rest of its group has no share, or a guard
            watches it.
    """
    if source not in curriculum.sources:
        raise ConfigError(f"--drop: {unknown('source', source, curriculum.sources)}")
    group, _ = curriculum.sources[source]
    sources = curriculum.mixture[group].sources
    rest = {name: share for name, share in sources.items() if name != source}
    parts = {name: Fraction(repr(share.share)) for name, share in rest.items()}  # as written
    whole = sum(parts.values())
    if not whole:
        raise ConfigError(
            f"--drop: source {source!r} has all of group {group!r}, so no source would be left "
            f"for its ratio: give `linly amend` a curriculum in which other groups take the ratio, "
            f"or another source is in {group!r}"
        )
    for guarded, guard in curriculum.guards.items():
        if guard.source == source:
            raise ConfigError(
                f"--drop: source {source!r} is watched by the guard of group {guarded!r} "
                f"(curriculum {curriculum.name}: mixture.{guarded}.ratio.guard.source): give "
                "`linly amend` a curriculum whose guard watches another source, or without it"
            )
    scaled = {
        name: share.model_copy(update={"share": float(parts[name] / whole)})
        for name, share in rest.items()
    }
    changed = curriculum.mixture[group].model_copy(update={"sources": scaled})
    form = curriculum.file_form()
    form["mixture"][group] = changed.file_form()
    return Curriculum.model_validate(form)


def _rows_of(curriculum: Curriculum) -> dict[str, Any]:
    """A curriculum's file form without its name, which does not affect the rows."""
    return {key: value for key, value in curriculum.file_form().items() if key != "name"}


def _digest(new: NewList) -> str:
    return hashlib.sha256(shard_lines(new.shards)).hexdigest()


def _check_past(at: RunAtCheckpoint, wanted: Curriculum) -> None:
    """Refuse a curriculum that would change past rows, or leave no rows to train on."""
    data = at.recipe.data
    num_steps = wanted.tokens // data.sequence_length // data.global_batch
    if num_steps <= at.step:
        tokens = (at.step + 1) * data.global_batch * data.sequence_length
        raise ConfigError(
            f"curriculum {wanted.name}: tokens: found {amount(wanted.tokens)}, which is "
            f"{num_steps} steps, but the run has taken {at.step}; allowed: {tokens:,} or more"
        )
    known = at.timeline.sources
    for name, (_, share) in sorted(wanted.sources.items()):
        before = known.get(name)
        if before is None:
            continue
        for key in ("corpus", "template"):
            now, then = getattr(share, key), getattr(before, key)
            if now != then:
                raise ConfigError(
                    f"curriculum {wanted.name}: source {name!r}: {key}: found {now}, but the run "
                    f"has read it with {then}, and its cursor is there; give the new source "
                    f"another name, such as {name}-2: {{corpus: {share.corpus}, ...}}"
                )
        limits = {share.max_epochs, before.max_epochs}
        if len(limits) > 1 and min(map(math.floor, limits)) <= at.epoch(name):
            raise ConfigError(
                f"curriculum {wanted.name}: source {name!r}: max_epochs: found "
                f"{share.max_epochs:g} in place of {before.max_epochs:g}, but the source is "
                f"already in its epoch {at.epoch(name) + 1}, which the limit would cut: keep "
                "max_epochs, or drop the source"
            )


def _check_guards(wanted: Curriculum, at: RunAtCheckpoint) -> None:
    """Refuse a guard that has no evaluation before the first step to compare with."""
    for group, guard in wanted.guards.items():
        if guard.task is not None:
            _check_task(wanted, group, guard.task, at)
            continue
        watched = wanted.guarded_sources(guard)
        if not set(watched) & at.baseline.keys():
            raise ConfigError(
                f"curriculum {wanted.name}: mixture.{group}.ratio.guard.source: found "
                f"{guard.source}, but {', '.join(watched)} was not evaluated before the "
                f"first step, allowed: {', '.join(sorted(at.baseline))}"
            )


def _check_task(wanted: Curriculum, group: str, task: str, at: RunAtCheckpoint) -> None:
    """Refuse a guard on a task that the run does not evaluate, or did not before its first step."""
    tasks = {one.name for one in at.recipe.evaluation.tasks} & at.tasks_before.keys()
    if task not in tasks:
        raise ConfigError(
            f"curriculum {wanted.name}: mixture.{group}.ratio.guard.task: found {task}, which was "
            f"not evaluated before the first step, allowed: {', '.join(sorted(tasks)) or 'none'}"
        )


def _recipe(
    run: RunFolder, at: RunAtCheckpoint, wanted: Curriculum, relist: Collection[str]
) -> Recipe:
    """The recipe with the new curriculum and its corpora."""
    corpora: dict[str, Corpus] = {}
    listed = {wanted.sources[source][1].corpus for source in relist}
    own = at.recipe.model
    model = own if isinstance(own, Path) and own.is_dir() else run.path / "model"
    for _, share in wanted.sources.values():
        name = share.corpus
        if name not in corpora:
            found = _corpus(at, wanted, name, is_listed_again=name in listed)
            corpora[name] = with_packing(found, at.recipe.data.packing)
        corpora[name] = with_chat(corpora[name], share.template, model)
    return at.recipe.model_copy(update={"curriculum": wanted, "corpora": corpora})


def _corpus(at: RunAtCheckpoint, wanted: Curriculum, name: str, *, is_listed_again: bool) -> Corpus:
    """A corpus as pinned by the run, or from its file; the file's paths if it is listed again."""
    known = at.timeline.corpora.get(name)
    if known is not None and not is_listed_again:
        return known
    folders = at.recipe.corpus_folders
    files = corpus_files(folders)
    if name in files:
        tree = read_yaml(files[name])
        written = with_pinned_lists(make_corpus(name, tree), tree)
        if known is None:
            return written
        return known.model_copy(update={"paths": written.paths, "exclude": written.exclude})
    if known is None:
        where = ", ".join(map(str, folders)) or "no folder: the run's recipe holds its corpora"
        raise ConfigError(
            f"curriculum {wanted.name}: {unknown('corpus', name, files)} (in {where})"
        )
    return known


def _decision(
    at: RunAtCheckpoint, wanted: Curriculum, recipe: Recipe, lists: Mapping[str, NewList]
) -> dict[str, Any]:
    """The line of decisions.jsonl."""
    return {
        "step": at.step,
        "kind": "amend",
        "row": at.row,
        **curriculum_form(wanted, recipe.corpora),
        "relisted": {
            source: {"from_epoch": new.from_epoch, "file": new.file, "sha256": _digest(new)}
            for source, new in lists.items()
        },
    }


def _new_inventories(
    at: RunAtCheckpoint, recipe: Recipe, tokenizer: Tokenizer
) -> dict[str, SourceInventory]:
    """Inventories of the sources that the run has not had yet."""
    return {
        name: source_inventory(
            source,
            tokenizer,
            sequence_length=recipe.data.sequence_length,
            max_held_out=recipe.evaluation.max_documents,
        )
        for name, source in recipe.sources.items()
        if name not in at.timeline.sources
    }


def _list_again(run: RunFolder, at: RunAtCheckpoint, recipe: Recipe, source: str) -> NewList:
    corpus = recipe.sources[source].corpus
    shards = list_shards(corpus, recipe.data_root)
    before = newest_lists(run, at.timeline, [source])[source]
    added = {shard.path for shard in shards} - {shard.path for shard in before}
    gone = {shard.path for shard in set(before) - set(shards)}
    if not added and not gone:
        raise DataError(
            f"--relist: source {source!r}: the run already has its {len(shards)} shards; "
            f"no new file matches {_patterns(corpus)} in {recipe.data_root}"
        )
    taken = (run.path / "shards" / f"{source}.{number}.jsonl" for number in count(2))
    return NewList(
        shards,
        at.epoch(source) + at.has_begun_epoch(source),
        tuple(sorted(added)),
        tuple(sorted(gone)),
        next(path for path in taken if not path.exists()).name,
    )


def _patterns(corpus: Corpus) -> str:
    paths = corpus.paths.values() if isinstance(corpus.paths, Mapping) else corpus.paths
    return ", ".join(repr(pattern) for pattern in paths)


def _capacities(
    run: RunFolder,
    at: RunAtCheckpoint,
    recipe: Recipe,
    inventories: Mapping[str, SourceInventory],
    lists: Mapping[str, NewList],
    tokenizer: Tokenizer,
) -> dict[str, tuple[int, int]]:
    """Positions per epoch of each source in the new curriculum: until now, and from now on."""
    sources = recipe.sources
    stay = sorted(sources.keys() - inventories.keys())
    fixed = newest_lists(run, at.timeline, stay)

    def positions(source: str, shards: Sequence[Shard]) -> int:
        length = recipe.data.sequence_length
        estimate = estimate_tokens(sources[source], shards, tokenizer, sequence_length=length)
        return estimate.tokens + estimate.padding

    found = {source: (seen.available.positions,) * 2 for source, seen in inventories.items()}
    for source in stay:
        if source in lists:
            new = lists[source]
            kept = [shard for shard in fixed[source] if shard.path not in new.gone]
            found[source] = (positions(source, kept or new.shards), positions(source, new.shards))
        else:
            found[source] = (positions(source, fixed[source]),) * 2
    return found


def _next_lr(at: RunAtCheckpoint, recipe: Recipe) -> float:
    return LearningRate.from_recipe(recipe).at(at.step + 1)
